package soaktest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// shown is a channel in a snapshot.
type shown struct{ ID, Name string }

// A snapshot is an answer of /api/sync.
type snapshot struct {
	user     string
	at       int64
	channels []shown
}

// payload has the fields of an event's data that the test compares.
type payload struct {
	ChannelID, GuildID, XType             string
	UserID, Name, Reason                  string
	ID, AuthorUserID, Content, TurnUserID string
	ReplyTo, WakeReason                   string
	MentionUserIDs                        []string
	Wakeup, Deleted, Redacted             bool
	Cursor                                string
	Resumed                               bool
	Channels                              []shown
}

// An expectation is an event that a client must see.
type expectation struct {
	seq   int64
	event string
	by    span
	in    *channel
	*entry
}

func (x expectation) String() string {
	return fmt.Sprintf("%s %d of %s %s", x.event, x.seq, x.in.xType, x.in.id)
}

// logged is a row of the event log.
type logged struct {
	Seq                         int64
	Kind, ChannelID, UserID, ID string
}

// is reports whether a row is the entry that the oracle expects next in its channel.
func (l logged) is(e *entry) bool {
	var id string
	if e.message != nil {
		id = e.message.id
	}
	return l.Kind == e.kind && l.UserID == e.user && l.ID == id && (e.seq == 0 || e.seq == l.Seq)
}

// resolve gives each entry its number in the event log. The event log must have every change that got an
// answer, with the number of the answer. It may have changes that got no answer. It must have nothing else.
func (s *soak) resolve(log []logged) {
	of := map[string][]logged{}
	for _, row := range log {
		of[row.ChannelID] = append(of[row.ChannelID], row)
	}
	for _, c := range s.channels {
		rows := of[c.id]
		delete(of, c.id)
		var happened []*entry
		for _, e := range c.entries {
			if len(rows) == 0 || !rows[0].is(e) {
				if !e.maybe {
					next := rows[:min(1, len(rows))]
					s.fault("the log has %+v next in %s, want %s %d by %s", next, c.id, e.kind, e.seq, e.user)
					break
				}
				if e.message != nil {
					e.message.versions = e.message.versions[:e.version]
				}
				continue
			}
			e.seq = rows[0].Seq
			rows = rows[1:]
			happened = append(happened, e)
		}
		if len(rows) > 0 {
			s.fault("the log has %+v in %s, which nobody asked for", rows[0], c.id)
		}
		c.entries = happened
		c.settle()
	}
	for id, rows := range of {
		s.fault("the log has a channel %s which nobody asked for: %+v", id, rows[0])
	}
}

// expected returns all events that a client must get, in the order of the event log.
func (s *soak) expected(c *client) (all []expectation) {
	for _, ch := range s.channels {
		for _, e := range ch.entries {
			if event, by, ok := hears(c, ch, e); ok {
				all = append(all, expectation{e.seq, event, by, ch, e})
			}
		}
	}
	slices.SortFunc(all, func(a, b expectation) int { return int(a.seq - b.seq) })
	return all
}

// hears returns the kind of event that a client must get for an entry, and the membership through which it
// gets the event.
func hears(c *client, ch *channel, e *entry) (event string, by span, ok bool) {
	by, member := ch.spanOf(c.user, e.seq)
	switch e.kind {
	case "channel.created":
		return "channel.joined", by, member
	case "member.joined", "member.left":
		if e.user == c.user {
			return strings.Replace(e.kind, "member", "channel", 1), by, member
		}
		return e.kind, by, member
	case "message.created", "message.updated", "message.deleted":
	default:
		return e.kind, by, member
	}
	m := e.message
	asAdmin := m.admin == c.user
	if !member && !asAdmin {
		return "", by, false
	}
	outcome, reason := decide(ch.xType, m, c.user)
	if outcome == "skip" && !(reason == "author" && c.echo) {
		return "", by, false
	}
	if c.wakeup && (outcome != "wake" || e.kind != "message.created") {
		return "", by, false
	}
	if e.kind != "message.created" && by.from > m.versions[0].seq && !asAdmin {
		return "", by, false // a member who joined after the message gets no edits of it
	}
	return e.kind, by, true
}

// verify compares the frames of a client with the expected events. It stops at the first difference.
func (s *soak) verify(c *client, head int64) (resets int) {
	left := s.expected(c)
	var at int64 // the client has got all events up to this number
	began := false
	var parts []shown // of an incomplete snapshot
	for i, f := range c.frames {
		fail := func(format string, args ...any) {
			wrong := fmt.Sprintf(format, args...)
			s.fault("%s, frame %d of %d, %s %s %.300s: %s", c.name, i, len(c.frames), f.event, f.id,
				f.data, wrong)
		}
		var p payload
		if len(f.data) > 0 {
			if err := json.Unmarshal(f.data, &p); err != nil {
				fail("%v", err)
				return resets
			}
		}
		id := seq(f.id)
		switch f.event {
		case "stream.ready", "stream.reset", "stream.channels":
			if f.event == "stream.reset" {
				if resets++; p.Reason != "expired" || at >= f.floor || !began {
					fail("want to resume at %d: the log begins after %d", at, f.floor)
					return resets
				}
			}
			if f.event == "stream.ready" && p.Resumed != began {
				fail("want resumed %t", began)
				return resets
			}
			parts = append(parts, p.Channels...)
			if f.id == "" {
				continue
			}
			if p.Resumed && id != at {
				fail("want to resume at %d", at)
				return resets
			}
			if !p.Resumed || c.snapshot && c.kind != "poll" && (c.kind != "follow" || len(parts) > 0) {
				if diff := s.compareSnapshot(c.user, id, parts); diff != "" {
					fail("the snapshot (-want +got):\n%s", diff)
					return resets
				}
			}
			if !p.Resumed {
				n := slices.IndexFunc(left, func(x expectation) bool { return x.seq > id })
				if n < 0 {
					n = len(left)
				}
				left = left[n:]
			}
			at, began, parts = id, true, nil
		case "stream.cursor", "stream.live":
			if len(left) > 0 && left[0].seq <= id {
				fail("want %v before", left[0])
				return resets
			}
			at = max(at, id)
		default:
			if len(left) == 0 || left[0].seq != id || left[0].event != f.event {
				fail("want %v next, after %d", left[:min(1, len(left))], at)
				return resets
			}
			if wrong := left[0].check(c, p); wrong != "" {
				fail("want %s", wrong)
				return resets
			}
			at = id
			left = left[1:]
		}
	}
	if len(left) > 0 && left[0].seq <= head {
		s.fault("%s: after %d frames, at %d: want %v next", c.name, len(c.frames), at, left[0])
	}
	return resets
}

// check compares an event's data with the data that its reader may get. It returns what was expected instead.
func (x expectation) check(c *client, p payload) (want string) {
	if p.ChannelID != x.in.id || p.XType != x.in.xType || p.GuildID != x.in.guild {
		return fmt.Sprintf("the channel %s %s of %s", x.in.xType, x.in.id, x.in.guild)
	}
	m := x.message
	if m == nil {
		user := x.user
		if x.kind == "channel.created" {
			user = c.user
		}
		if p.UserID != user || p.Reason != x.reason {
			return fmt.Sprintf("the user %q and the reason %q", user, x.reason)
		}
		if !x.in.named(p.Name, x.seq, x.by) {
			return fmt.Sprintf("a name of %+v, as of membership %+v", x.in.names, x.by)
		}
		return ""
	}
	outcome, reason := decide(x.in.xType, m, c.user)
	if x.kind != "message.created" {
		outcome = ""
		reason = ""
	}
	if p.Wakeup != (outcome == "wake") || p.WakeReason != reason {
		return fmt.Sprintf("to be woken: %s %s", outcome, reason)
	}
	same := p.ID == m.id && p.AuthorUserID == m.author && p.ReplyTo == m.replyTo && p.TurnUserID == m.turn
	if !same || !slices.Equal(p.MentionUserIDs, m.mentioned) {
		return fmt.Sprintf("%+v", *m)
	}
	last := m.versions[len(m.versions)-1]
	if p.Redacted {
		if x.by.to == 0 || last.seq <= x.by.to || p.Content != "" {
			return fmt.Sprintf("the text: the membership is %+v, the latest change at %d", x.by, last.seq)
		}
		return ""
	}
	for _, v := range m.versions[x.version:] { // an event has the current text, which may be newer
		if p.Content == v.content && p.Deleted == v.deleted && (x.by.to == 0 || v.seq <= x.by.to) {
			return ""
		}
	}
	return fmt.Sprintf("one of the texts %+v, as of membership %+v", m.versions[x.version:], x.by)
}

// named reports whether a reader may get a name with an event. The name must be the one at that event or a
// newer one. In a private channel the name must not be newer than the reader's leave.
func (c *channel) named(name string, at int64, by span) bool {
	for i, n := range c.names {
		current := i == len(c.names)-1 || c.names[i+1].seq > at
		if n.content == name && current && (by.to == 0 || !c.private || n.seq <= by.to) {
			return true
		}
	}
	return false
}

func (s *soak) compareSnapshot(user string, at int64, got []shown) (diff string) {
	want := map[string]bool{}
	have := map[string]bool{}
	for _, c := range s.channels {
		if c.openAt(user, at) {
			want[c.id] = true
		}
	}
	for _, ch := range got {
		have[ch.ID] = true
	}
	if len(have) != len(got) {
		return fmt.Sprintf("got %d channels, of which only %d are different", len(got), len(have))
	}
	if maps.Equal(want, have) {
		return ""
	}
	return cmp.Diff(want, have)
}

// verifyHistory checks the history of a channel as each member reads it.
func (w *worker) verifyHistory(c *channel) {
	for user, spans := range c.spans {
		current := spans[len(spans)-1]
		if current.to != 0 {
			continue
		}
		var want, got []string
		for _, e := range slices.Backward(c.entries) {
			if e.kind != "message.created" {
				continue
			}
			by, member := c.spanOf(user, e.seq)
			if !member && c.history != "all" {
				continue
			}
			last := e.message.versions[len(e.message.versions)-1]
			if c.history != "all" && by.to != 0 && last.seq > by.to && last.seq < current.from {
				last.content = "redacted" // changed while the reader was no member
			}
			want = append(want, fmt.Sprintf("%s %q %t", e.message.id, last.content, last.deleted))
		}
		for before := ""; ; {
			var page struct {
				Items []payload
				Next  string
			}
			path := "/api/channels/" + c.id + "/messages?limit=50&before=" + before
			if !w.ask(user, http.MethodGet, path, "", nil, &page, http.StatusOK) {
				return
			}
			for _, m := range page.Items {
				if m.Redacted {
					m.Content = "redacted"
				}
				got = append(got, fmt.Sprintf("%s %q %t", m.ID, m.Content, m.Deleted))
			}
			before = page.Next
			if before == "" {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			w.fault("%s's history of %s %s (-want +got):\n%.1000s", user, c.xType, c.id, diff)
			return
		}
	}
}
