package soaktest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	channelsEach = 6                // number of channels of a worker at any time
	answerWithin = 15 * time.Second // time limit of a request
)

var xTypes = []string{"general", "report", "triage", "custom", "dm", "discuss", "work"}

// A worker makes changes one after the other, in channels that no other worker changes. So the order of a
// channel's changes is known without the answers.
type worker struct {
	*soak
	number int
	rand   *rand.Rand
	pause  time.Duration
	count  int // number of names, keys and texts so far
	open   []*channel
}

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.open = slices.DeleteFunc(w.open, func(c *channel) bool { return c.closed })
		if len(w.open) < channelsEach {
			w.create()
			continue
		}
		w.step(w.open[w.rand.IntN(len(w.open))])
		select {
		case <-time.After(w.pause):
		case <-ctx.Done():
		}
	}
}

// answer has the fields that the test reads from answers.
type answer struct {
	Channel struct{ ID string }
	Message struct {
		ID         string
		TurnUserID string
	}
	Cursor      string
	Changed     *bool
	WakeupCount int
	Wakeups     []struct{ UserID, Reason string }
	Turn        struct {
		HolderUserID string
		Paused       bool
	}
}

// ask sends a request. With a key it repeats the request until it gets an answer, so its outcome is always
// known. Without a key, ok is false if the outcome is unknown.
func (w *worker) ask(user, method, path, key string, body any, out any, want ...int) (ok bool) {
	var text []byte
	if body != nil {
		text, _ = json.Marshal(body) // never fails for these bodies
	}
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		status, answer, err := w.send(context.Background(), user, method, path, key, text)
		var said struct{ Code string }
		if err == nil && status >= 300 {
			_ = json.Unmarshal(answer, &said)
		}
		switch {
		case err == nil && slices.Contains(want, status):
			if err := json.Unmarshal(answer, out); err != nil {
				w.fault("%s %s: %v in %.200q", method, path, err, answer)
			}
			return true
		case err == nil && status != http.StatusServiceUnavailable && said.Code != "idempotency_in_flight":
			w.fault("%s %s %s by %s: got %d %.300s, want %v", method, path, text, user, status, answer, want)
			return false
		case key == "" && method != http.MethodGet:
			return false
		}
		<-time.After(50 * time.Millisecond)
	}
	w.fault("%s %s: got no answer for two minutes", method, path)
	return false
}

// send sends a request once, to one of the servers.
func (w *worker) send(
	ctx context.Context, user, method, path, key string, body []byte,
) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	base := w.bases[w.rand.IntN(len(w.bases))]
	r, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+w.tokens[user])
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	got, err := w.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = got.Body.Close() }()
	answer, err = io.ReadAll(got.Body)
	return got.StatusCode, answer, err
}

// name returns an unused name.
func (w *worker) name(kind string) string {
	w.count++
	return fmt.Sprintf("%s-%d-%d", kind, w.number, w.count)
}

func (w *worker) one(users []string) string { return users[w.rand.IntN(len(users))] }

func (w *worker) some(users []string, most int) []string {
	users = slices.Clone(users)
	w.rand.Shuffle(len(users), func(i, j int) { users[i], users[j] = users[j], users[i] })
	return users[:w.rand.IntN(min(most, len(users))+1)]
}

func (w *worker) create() {
	c := &channel{
		guild: w.name("guild"), xType: w.one(xTypes), creator: w.one(users), private: w.rand.IntN(3) == 0,
		history: w.one([]string{"joined", "all"}), joined: map[string]int{},
	}
	name := w.name("channel")
	body := map[string]any{"guildId": c.guild, "xType": c.xType, "private": c.private, "history": c.history}
	c.roster = []string{c.creator}
	more := slices.DeleteFunc(w.some(users, len(users)), func(u string) bool { return u == c.creator })
	if c.xType == "dm" {
		name = ""
		for len(more) == 0 {
			more = slices.DeleteFunc(w.some(users, len(users)), func(u string) bool { return u == c.creator })
		}
		more = more[:1]
	} else {
		body["name"] = name
	}
	body["memberUserIds"] = more
	c.roster = append(c.roster, more...)
	if c.listed() {
		c.wakeList = w.some(c.roster, 3)
		body["wakeUserIds"] = c.wakeList
	}
	if c.turns() {
		c.holder = c.creator
	}
	var a answer
	if !w.ask(c.creator, http.MethodPost, "/api/channels", w.name("key"), body, &a, http.StatusCreated) {
		return
	}
	c.id = a.Channel.ID
	e := &entry{kind: "channel.created", seq: seq(a.Cursor), user: c.creator, name: name}
	e.members = slices.Clone(c.roster)
	c.add(e)
	w.open = append(w.open, c)
	w.mu.Lock()
	w.channels = append(w.channels, c)
	w.mu.Unlock()
}

// step makes one allowed change.
func (w *worker) step(c *channel) {
	dm := c.xType == "dm"
	var outside []string
	for _, u := range users {
		if !c.has(u) {
			outside = append(outside, u)
		}
	}
	switch n := w.rand.IntN(100); {
	case n < 8 && !dm && !c.private && len(outside) > 0:
		u := w.one(outside)
		w.join(c, u, u, http.MethodPost, "/join")
	case len(c.roster) == 0:
		c.closed = c.private // nobody can join a private channel again
	case n < 16 && !dm && len(outside) > 0:
		u := w.one(outside)
		w.join(c, w.one(c.roster), u, http.MethodPut, "/members/"+u)
	case n < 24 && !dm:
		u := w.one(c.roster)
		w.leave(c, u, u, http.MethodPost, "/leave")
	case n < 29 && !dm:
		u := w.one(c.roster)
		w.leave(c, w.steers(c), u, http.MethodDelete, "/members/"+u)
	case n < 34 && !dm:
		by := w.steers(c)
		name := w.name("renamed")
		e := &entry{kind: "channel.updated", user: by, name: name}
		w.change(c, by, http.MethodPatch, "", map[string]any{"name": name}, e)
	case n < 35 && !dm:
		by := w.steers(c)
		w.change(c, by, http.MethodDelete, "", nil, &entry{kind: "channel.archived", user: by})
		c.closed = true
	case n < 40 && c.listed():
		w.setWakeList(c)
	case n < 47 && c.turns():
		w.moveTurn(c)
	case n < 57 && len(c.messages) > 0:
		w.edit(c, c.messages[w.rand.IntN(len(c.messages))], n < 51)
	case n < 59:
		w.sync()
	default:
		w.post(c)
	}
}

// steers returns a user who may rename, archive and remove: the creator, or if the creator has left, any
// member.
func (w *worker) steers(c *channel) string {
	if c.has(c.creator) {
		return c.creator
	}
	return w.one(c.roster)
}

// change makes a change whose event is e. If the change gets no answer, the channel gets no more changes.
func (w *worker) change(c *channel, by, method, path string, body any, e *entry) (ok bool) {
	return w.changeAt(c, by, method, "/api/channels/"+c.id+path, body, e)
}

func (w *worker) changeAt(c *channel, by, method, path string, body any, e *entry) (ok bool) {
	var a answer
	ok = w.ask(by, method, path, "", body, &a, http.StatusOK)
	if e == nil { // the change makes no event
		return ok
	}
	if ok {
		e.seq = seq(a.Cursor)
		if a.Changed != nil && !*a.Changed {
			w.fault("%s %s: got no change, want one", method, path)
		}
	} else {
		e.maybe = true
		c.closed = true
	}
	c.add(e)
	return ok
}

func (w *worker) join(c *channel, by, user, method, path string) {
	if !w.change(c, by, method, path, nil, &entry{kind: "member.joined", user: user}) {
		return
	}
	c.roster, c.joined[user] = append(c.roster, user), len(c.messages)
	if c.turns() && len(c.roster) == 1 {
		c.holder = user
	}
}

func (w *worker) leave(c *channel, by, user, method, path string) {
	ok := w.change(c, by, method, path, nil, &entry{kind: "member.left", user: user})
	next := c.after(user)
	c.roster = slices.DeleteFunc(slices.Clone(c.roster), func(u string) bool { return u == user })
	c.wakeList = slices.DeleteFunc(slices.Clone(c.wakeList), func(u string) bool { return u == user })
	if !c.turns() || c.holder != user {
		return
	}
	c.holder = next
	if next == user {
		c.holder = ""
		return
	}
	c.add(&entry{kind: "turn.changed", user: next, reason: "leave", maybe: !ok})
}

func (w *worker) setWakeList(c *channel) {
	by := w.steers(c)
	list := w.some(c.roster, 4)
	e := &entry{kind: "channel.updated", user: by}
	if slices.Equal(list, c.wakeList) {
		e = nil
	}
	if w.change(c, by, http.MethodPut, "/wake", map[string]any{"userIds": list}, e) {
		c.wakeList = list
	} else {
		c.closed = true
	}
}

func (w *worker) moveTurn(c *channel) {
	by := w.one(c.roster)
	to := w.one(c.roster)
	holder := c.holder
	paused := c.paused
	action := w.one([]string{"pass", "take", "give", "pause", "resume"})
	body := map[string]any{"action": action}
	command := "/" + action
	switch action {
	case "pass":
		holder = c.after(c.holder)
	case "take":
		holder = by
	case "give":
		body["userId"], holder, command = to, to, "/turn @"+to
	case "pause":
		paused = true
	case "resume":
		paused = false
	}
	var e *entry
	if holder != c.holder || paused != c.paused {
		e = &entry{kind: "turn.changed", user: holder, reason: action}
	}
	ok := true
	// A command in a message has a key, so its outcome is always known.
	if action != "take" && w.rand.IntN(2) == 0 {
		var a answer
		path := "/api/channels/" + c.id + "/messages"
		body = map[string]any{"content": command}
		ok = w.ask(by, http.MethodPost, path, w.name("key"), body, &a, http.StatusOK)
		if ok && e != nil {
			e.seq = seq(a.Cursor)
			c.add(e)
		}
	} else {
		ok = w.change(c, by, http.MethodPost, "/turn", body, e)
	}
	c.holder, c.paused, c.closed = holder, paused, c.closed || !ok
}

func (w *worker) post(c *channel) {
	m := &message{author: w.one(c.roster), onDuty: slices.Clone(c.wakeList)}
	var content strings.Builder
	content.WriteString(w.name("message"))
	if w.rand.IntN(3) == 0 {
		for _, u := range w.some(users, 2) {
			content.WriteString(" <@" + u + ">")
			if c.has(u) && u != m.author {
				m.mentioned = append(m.mentioned, u)
			}
		}
	}
	if w.rand.IntN(50) == 0 {
		content.WriteString(strings.Repeat(" long\u0001\u2028", 1000))
	}
	body := map[string]any{"content": content.String()}
	if from := c.joined[m.author]; w.rand.IntN(5) == 0 && from < len(c.messages) {
		m.replyTo = c.messages[from+w.rand.IntN(len(c.messages)-from)].id
		body["replyTo"] = m.replyTo
	}
	holder := c.holder
	if c.turns() {
		holder, m.turn = c.handOver(m.author, m.mentioned)
	}
	if c.xType == "triage" {
		m.admin = admin
	}
	m.versions = []version{{content: content.String()}}
	var a answer
	path := "/api/channels/" + c.id + "/messages"
	if !w.ask(m.author, http.MethodPost, path, w.name("key"), body, &a, http.StatusCreated) {
		c.closed = true
		return
	}
	c.holder = holder
	m.id = a.Message.ID
	c.messages = append(c.messages, m)
	c.add(&entry{kind: "message.created", seq: seq(a.Cursor), user: m.author, message: m})
	var want, got []string
	for _, u := range c.roster {
		if outcome, reason := decide(c.xType, m, u); outcome == "wake" {
			want = append(want, u+" "+reason)
		}
	}
	for _, u := range a.Wakeups {
		got = append(got, u.UserID+" "+u.Reason)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) || a.WakeupCount != len(want) || a.Message.TurnUserID != m.turn {
		w.fault("%s %q in %s: got %d wakeups %v and the turn %q, want %v and %q",
			c.xType, content.String(), c.id, a.WakeupCount, got, a.Message.TurnUserID, want, m.turn)
	}
}

func (w *worker) edit(c *channel, m *message, deletes bool) {
	by := m.author
	if deletes && c.xType != "dm" && c.has(c.creator) && c.joined[c.creator] == 0 {
		by = c.creator // the creator has been a member from the beginning
	}
	if m.deleted() || !c.has(by) {
		return
	}
	e := &entry{kind: "message.updated", user: by, message: m, version: len(m.versions)}
	v, method, body := version{content: w.name("edited")}, http.MethodPatch, map[string]any{}
	if body["content"] = v.content; deletes {
		e.kind, v, method, body = "message.deleted", version{deleted: true}, http.MethodDelete, nil
	}
	m.versions = append(m.versions, v)
	w.changeAt(c, by, method, "/api/messages/"+m.id, body, e)
}

// sync records a snapshot. The test compares it at the end.
func (w *worker) sync() {
	s := snapshot{user: w.one(users)}
	var got struct {
		Cursor   string
		Channels []shown
	}
	if w.ask(s.user, http.MethodGet, "/api/sync", "", nil, &got, http.StatusOK) {
		s.at, s.channels = seq(got.Cursor), got.Channels
		w.mu.Lock()
		w.snapshots = append(w.snapshots, s)
		w.mu.Unlock()
	}
}

func seq(cursor string) int64 {
	_, number, _ := strings.Cut(cursor, ".")
	n, _ := strconv.ParseInt(number, 10, 64)
	return n
}
