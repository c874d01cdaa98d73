package openclawtest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// A house is a guild, an OpenClaw, and the people who talk to it.
type house struct {
	t        *testing.T
	guild    *guildtest.Node
	state    string
	database string
	sql      *pgx.Conn
	model    *model
	claw     *gateway
	door     *door
	tokens   map[string]string
	owed     map[string]string // the messages that wake the agent, by id, and how each must end
}

func TestOpenClaw(t *testing.T) {
	need(t)
	h := &house{t: t, state: guildtest.StateDir(t), database: dbtest.New(t), owed: map[string]string{}}
	h.sql = dbtest.Connect(t, h.database)
	h.guild = program.Start(t, h.state, "-database-url", h.database)
	h.tokens = map[string]string{"alice": h.guild.Token("alice")}
	for _, agent := range []string{"claw", "log"} {
		args := []string{"token", "-state", h.state, "-agent", "-name", "Agent " + agent, agent}
		token, stderr, code := program.Run(t, nil, args...)
		if code != 0 {
			t.Fatalf("got exit %d and %q", code, stderr)
		}
		h.tokens[agent] = strings.TrimSpace(token)
	}
	h.model = startModel(t)
	h.door = openDoor(t, h.guild.Base())
	h.claw = newGateway(t, h.door.URL, h.tokens["claw"], h.model)
	h.call("claw", "POST", "/api/wakes/claim", map[string]any{}, nil) // the queue begins here

	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the gateway's log:\n%s", h.claw.lastLines())
		}
	})
	for _, step := range []struct {
		name string
		run  func()
	}{
		{"the first start", h.claw.start},
		{"a mention", h.aMention},
		{"a dm", h.aDM},
		{"two channels at once", h.twoChannelsAtOnce},
		{"a burst", h.aBurst},
		{"a stop", h.aStop},
		{"a server that is killed", h.aServerThatIsKilled},
		{"a wake taken over", h.aWakeTakenOver},
		{"agents in a loop", h.agentsInALoop},
		{"a model error", h.aModelError},
		{"a gateway that stops", h.aGatewayThatStops},
		{"the second start", h.claw.start},
		{"a gateway that is killed, and the third start", h.aGatewayThatIsKilled},
		{"each is answered once", h.eachIsAnsweredOnce},
	} {
		t.Log(step.name)
		step.run()
	}
}

// call sends a request as a user, and wants it to succeed.
func (h *house) call(user, method, path string, body, out any) {
	h.t.Helper()
	status, err := guildtest.Call(h.t.Context(), method, h.guild.Base()+path, h.tokens[user], body, out)
	if err != nil || status >= 300 {
		h.t.Fatalf("%s %s: got %d and %v", method, path, status, err)
	}
}

// channel makes a channel of this kind with alice, the agents, and this name.
func (h *house) channel(xType, name string, fields map[string]any) string {
	h.t.Helper()
	body := map[string]any{"guildId": "g1", "xType": xType, "memberUserIds": []string{"claw"}}
	if xType != "dm" {
		body["name"], body["memberUserIds"] = name, []string{"claw", "log"}
	}
	maps.Copy(body, fields)
	var made struct{ Channel struct{ ID string } }
	h.call("alice", "POST", "/api/channels", body, &made)
	return made.Channel.ID
}

// say posts a message that wakes the agent, and returns its id.
func (h *house) say(user, channel, content string) string {
	h.t.Helper()
	var posted struct{ Message struct{ ID string } }
	body := map[string]any{"content": content}
	h.call(user, "POST", "/api/channels/"+channel+"/messages", body, &posted)
	h.owed[posted.Message.ID] = "done"
	return posted.Message.ID
}

// An answer is a message by the agent that ended a wake.
type answer struct{ content, replyTo string }

// answers returns the messages that ended a wake with this message in it.
func (h *house) answers(id string) (all []answer) {
	h.t.Helper()
	rows, err := h.sql.Query(h.t.Context(), `SELECT a.content, coalesce(a.reply_to::text, '')
		FROM messages m JOIN messages a ON a.channel_id = m.channel_id AND a.wake_id IS NOT NULL
		WHERE m.id = $1 AND m.seq BETWEEN a.wake_first AND a.wake_upto`, id)
	if err != nil {
		h.t.Fatal(err)
	}
	for rows.Next() {
		var a answer
		if err := rows.Scan(&a.content, &a.replyTo); err != nil {
			h.t.Fatal(err)
		}
		all = append(all, a)
	}
	if err := rows.Err(); err != nil {
		h.t.Fatal(err)
	}
	return all
}

// awaitAnswer blocks until a message is answered, and returns the answer.
func (h *house) awaitAnswer(id string) answer {
	h.t.Helper()
	answered := func() bool { return len(h.answers(id)) > 0 }
	guildtest.Eventually(h.t, "the agent answers", guildtest.Patience, answered)
	return h.answers(id)[0]
}

// state returns how the work on a message stands for the agent.
func (h *house) stateOf(id string) string {
	h.t.Helper()
	var page struct {
		Items []struct{ UserID, State string }
	}
	h.call("alice", "GET", "/api/messages/"+id+"/deliveries", nil, &page)
	for _, d := range page.Items {
		if d.UserID == "claw" {
			return d.State
		}
	}
	return ""
}

func (h *house) awaitState(id, want string) {
	h.t.Helper()
	is := func() bool { return h.stateOf(id) == want }
	guildtest.Eventually(h.t, "the work on the message is "+want, guildtest.Patience, is)
}

func (h *house) hold(word string)    { h.model.set(h.model.held, word, true) }
func (h *house) release(word string) { h.model.set(h.model.held, word, false) }

func (h *house) want(got answer, content, replyTo string) {
	h.t.Helper()
	if got.content != content || got.replyTo != replyTo {
		h.t.Errorf("got the answer %q to %s, want %q to %s", got.content, got.replyTo, content, replyTo)
	}
}

// A mention is answered as a reply, and the model reads who wrote it and what was said before.
func (h *house) aMention() {
	channel := h.channel("general", "mention", nil)
	noise := map[string]any{"content": "<@alice> b#1"}
	h.call("log", "POST", "/api/channels/"+channel+"/messages", noise, nil)
	id := h.say("alice", channel, "<@claw> a#1")
	h.want(h.awaitAnswer(id), "heard: a#1 b#1", id)
	for _, part := range []string{`"id":"alice"`, "#mention", "Agent log (agent): <@alice> b#1"} {
		if !strings.Contains(h.model.asked("a#1")[0], part) {
			h.t.Errorf("the model did not read %s in %s", part, h.model.asked("a#1")[0])
		}
	}
}

// A dm is answered without a mention.
func (h *house) aDM() {
	channel := h.channel("dm", "", nil)
	id := h.say("alice", channel, "d#1")
	h.want(h.awaitAnswer(id), "heard: d#1", id)
}

// Two channels are worked on side by side.
func (h *house) twoChannelsAtOnce() {
	first := h.channel("general", "first", nil)
	second := h.channel("general", "second", nil)
	h.hold("e#1")
	h.hold("f#1")
	one, other := h.say("alice", first, "<@claw> e#1"), h.say("alice", second, "<@claw> f#1")
	h.model.awaitAsked("e#1", 1)
	h.model.awaitAsked("f#1", 1)
	h.release("f#1")
	h.want(h.awaitAnswer(other), "heard: f#1", other)
	h.release("e#1")
	h.want(h.awaitAnswer(one), "heard: e#1", one)
}

// What is said during a run is one turn after it.
func (h *house) aBurst() {
	channel := h.channel("general", "burst", nil)
	h.hold("g#1")
	first := h.say("alice", channel, "<@claw> g#1")
	h.model.awaitAsked("g#1", 1)
	h.say("alice", channel, "<@claw> g#2")
	h.say("log", channel, "<@claw> g#3")
	last := h.say("alice", channel, "<@claw> g#4")
	h.release("g#1")
	h.want(h.awaitAnswer(first), "heard: g#1", first)
	h.want(h.awaitAnswer(last), "heard: g#2 g#3 g#4", last)
	const author = "Agent log (agent): <@claw> g#3"
	if got := h.model.asked("g#2"); len(got) != 1 || !strings.Contains(got[0], author) {
		h.t.Errorf("got the turns %q, want one with the authors", got)
	}
}

// A stop ends the run, and nothing is posted.
func (h *house) aStop() {
	channel := h.channel("general", "stop", nil)
	h.hold("h#1")
	id := h.say("alice", channel, "<@claw> h#1")
	h.owed[id] = "stopped"
	h.model.awaitAsked("h#1", 1)
	h.call("alice", "POST", "/api/channels/"+channel+"/stop", map[string]any{"userId": "claw"}, nil)
	gaveUp := func() bool { return h.model.gaveUp("h#1") }
	guildtest.Eventually(h.t, "the run is aborted", guildtest.Patience, gaveUp)
	h.awaitState(id, "stopped")
	h.release("h#1")
	next := h.say("alice", channel, "<@claw> h#2")
	h.awaitAnswer(next)
}

// A server that is killed in the middle of a run gets the answer when it is back.
func (h *house) aServerThatIsKilled() {
	channel := h.channel("general", "kill", nil)
	h.hold("i#1")
	id := h.say("alice", channel, "<@claw> i#1")
	h.model.awaitAsked("i#1", 1)
	addr := h.guild.Addr()
	h.guild.Kill()
	h.release("i#1")
	h.guild = program.Start(h.t, h.state, "-database-url", h.database, "-addr", addr)
	h.want(h.awaitAnswer(id), "heard: i#1", id)
	if got := h.model.asked("i#1"); len(got) != 1 {
		h.t.Errorf("got %d runs, want one that outlives the server", len(got))
	}
}

// A wake that another program has taken over is answered by that program alone.
func (h *house) aWakeTakenOver() {
	channel := h.channel("general", "takeover", nil)
	h.hold("j#1")
	id := h.say("alice", channel, "<@claw> j#1")
	h.model.awaitAsked("j#1", 1)
	var claimed struct{ Wake struct{ ID string } }
	claim := map[string]any{
		"worker": "openclaw", "instance": "another", "channelIds": []string{channel}, "waitSeconds": 10,
	}
	h.call("claw", "POST", "/api/wakes/claim", claim, &claimed)
	reply := map[string]any{"content": "taken over", "replyTo": id, "wakeId": claimed.Wake.ID}
	h.call("claw", "POST", "/api/channels/"+channel+"/messages", reply, nil)
	gaveUp := func() bool { return h.model.gaveUp("j#1") }
	guildtest.Eventually(h.t, "the run is aborted", guildtest.Patience, gaveUp)
	h.release("j#1")
	h.want(h.awaitAnswer(id), "taken over", id)
}

// Twenty messages by agents wake the agent no more often than the channel's loop limit.
func (h *house) agentsInALoop() {
	const limit = 5
	channel := h.channel("general", "loop", map[string]any{"loopLimit": limit})
	h.awaitAnswer(h.say("alice", channel, "<@claw> k#0"))
	var last string
	for i := range 20 {
		last = h.say("log", channel, fmt.Sprintf("<@claw> k#%d", i+1))
	}
	var kept int
	for id := range h.owed {
		var page struct {
			Items []struct{ UserID, Outcome, Reason string }
		}
		h.call("alice", "GET", "/api/messages/"+id+"/deliveries", nil, &page)
		for _, d := range page.Items {
			if d.UserID == "claw" && d.Reason == "loop_guard" {
				h.owed[id] = "kept" // it wakes nobody
				kept++
			}
		}
	}
	if kept < 20-limit || h.owed[last] != "kept" {
		h.t.Errorf("the guard kept %d messages, want at least %d and the last one", kept, 20-limit)
	}
}

// A model that fails gives the work back, until it is dead and everyone sees that. A retry brings it back.
func (h *house) aModelError() {
	channel := h.channel("general", "error", nil)
	h.model.set(h.model.fails, "l#1", true)
	id := h.say("alice", channel, "<@claw> l#1")
	dead := func() bool {
		const soon = `UPDATE wakes SET not_before = now() - interval '1 hour'
			WHERE user_id = 'claw' AND channel_id = $1 AND not_before > now()`
		if _, err := h.sql.Exec(h.t.Context(), soon, channel); err != nil { // the pauses add up to 13 minutes
			h.t.Fatal(err)
		}
		return h.stateOf(id) == "dead"
	}
	guildtest.Eventually(h.t, "the wake is dead", guildtest.Patience, dead)
	var queue struct {
		Dead []struct {
			ID, Error string
			Attempts  int
		}
	}
	h.call("claw", "GET", "/api/wakes", nil, &queue)
	last := queue.Dead[len(queue.Dead)-1] // the one before was stopped
	if last.Attempts != 5 || last.Error == "" {
		h.t.Fatalf("got the dead wakes %+v, want five attempts and an error for the last one", queue.Dead)
	}
	var history struct {
		Items []struct{ AuthorUserID, Content string }
	}
	h.call("alice", "GET", "/api/channels/"+channel+"/messages", nil, &history)
	if len(history.Items) != 2 || history.Items[0].AuthorUserID != "claw" {
		h.t.Errorf("got the messages %+v, want the error as a notice", history.Items)
	}
	h.model.set(h.model.fails, "l#1", false)
	h.call("claw", "POST", "/api/wakes/dead/"+last.ID+"/retry", nil, nil)
	h.awaitAnswer(id)
}

// A gateway that is asked to end finishes its run first.
func (h *house) aGatewayThatStops() {
	channel := h.channel("general", "sigterm", nil)
	h.hold("m#1")
	id := h.say("alice", channel, "<@claw> m#1")
	h.model.awaitAsked("m#1", 1)
	wait := h.claw.end(syscall.SIGTERM)
	h.release("m#1")
	h.want(h.awaitAnswer(id), "heard: m#1", id)
	wait()
}

// A gateway that is killed in a run, before a post arrives and after it, answers each message once.
func (h *house) aGatewayThatIsKilled() {
	inRun := h.channel("general", "in-run", nil)
	before, after := h.channel("general", "before", nil), h.channel("general", "after", nil)
	h.door.set(before, beforePost)
	h.door.set(after, afterPost)
	h.hold("n#1")
	ids := []string{
		h.say("alice", inRun, "<@claw> n#1"),
		h.say("alice", before, "<@claw> o#1"),
		h.say("alice", after, "<@claw> p#1"),
	}
	h.model.awaitAsked("n#1", 1)
	h.door.awaitCaught(before)
	h.door.awaitCaught(after)
	h.claw.end(syscall.SIGKILL)()
	h.door.set(before, open)
	h.door.set(after, open)
	h.release("n#1")
	h.claw.start()
	for _, id := range ids {
		h.awaitAnswer(id)
	}
	// OpenClaw may run o#1 again or send its stored answer: the guild takes one of them.
	if got := h.model.asked("p#1"); len(got) != 1 {
		h.t.Errorf("got %d runs for p#1, want one: the guild had its answer", len(got))
	}
}

// Each message that woke the agent is answered exactly once, or ended as the test wanted. The agent has
// posted nothing else but OpenClaw's notices.
func (h *house) eachIsAnsweredOnce() {
	for id, end := range h.owed {
		switch got := h.answers(id); {
		case end == "done" && len(got) != 1:
			h.t.Errorf("message %s has the answers %q, want one", id, got)
		case end != "done" && len(got) != 0:
			h.t.Errorf("message %s has the answers %q, want none: it is %s", id, got, end)
		}
	}
	var queue struct{ Pending, Claimed, Dead []struct{ ID string } }
	empty := func() bool {
		h.call("claw", "GET", "/api/wakes", nil, &queue)
		return len(queue.Pending)+len(queue.Claimed) == 0
	}
	guildtest.Eventually(h.t, "nothing is owed", guildtest.Patience, empty)
	const plain = `SELECT content FROM messages WHERE author_user_id = 'claw' AND wake_id IS NULL`
	rows, err := h.sql.Query(h.t.Context(), plain)
	if err != nil {
		h.t.Fatal(err)
	}
	others, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		h.t.Fatal(err)
	}
	// the notice of the dead wake, and one for each of two answers that the kill interrupted
	if len(others) > 3 {
		h.t.Errorf("got %d messages that answer nothing, want at most 3: %q", len(others), others)
	}
}

// A door is a proxy in front of the guild. It can catch the agent's posts to a channel.
type door struct {
	*httptest.Server
	t testing.TB

	mu     sync.Mutex
	modes  map[string]mode // by channel
	caught map[string]bool
}

type mode int

const (
	open       mode = iota
	beforePost      // a post does not reach the guild
	afterPost       // the guild's answer to a post does not come back
)

func openDoor(t testing.TB, base string) *door {
	target, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, modes: map[string]mode{}, caught: map[string]bool{}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		channel, isPost := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/api/channels/"), "/messages")
		d.mu.Lock()
		mode := d.modes[channel]
		d.mu.Unlock()
		if !isPost || r.Method != "POST" || mode == open {
			proxy.ServeHTTP(w, r)
			return
		}
		if mode == afterPost {
			proxy.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
		}
		_, _ = io.Copy(io.Discard, r.Body) // else the end of the connection is not noticed
		d.mu.Lock()
		d.caught[channel] = true
		d.mu.Unlock()
		<-r.Context().Done()
	}))
	t.Cleanup(func() {
		d.CloseClientConnections()
		d.Close()
	})
	return d
}

func (d *door) set(channel string, m mode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.modes[channel] = m
}

func (d *door) awaitCaught(channel string) {
	d.t.Helper()
	guildtest.Eventually(d.t, "the agent posts", guildtest.Patience, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.caught[channel]
	})
}
