package live

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"fabric-guild/events"
)

// triage appends a triage message, with adm as the admin.
func (l *memLog) triage(channel uuid.UUID, author, content string, mentioned ...string) events.Cursor {
	return l.append(&events.Event{
		Kind: events.MessageCreated, ChannelID: channel, UserID: author,
		XType: events.Triage, Message: &events.Message{
			ID: uuid.New(), ChannelID: channel, GuildID: "g1", XType: events.Triage, AuthorUserID: author,
			Content:        content,
			MentionUserIDs: mentioned, Admin: "adm",
		},
	})
}

// change edits the message whose first event is at a cursor, or deletes it if content is empty. All events
// that refer to the message show the new state.
func (l *memLog) change(at events.Cursor, content string) events.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.events, func(e *events.Event) bool { return e.Cursor.Seq == at.Seq })
	m := *l.events[i].Message
	m.Content, m.Deleted, m.EditedSeq, m.Seq = content, content == "", l.last()+1, at.Seq
	for i, e := range l.events {
		if e.Message != nil && e.Message.ID == m.ID {
			l.events[i] = &events.Event{
				Cursor: e.Cursor, Kind: e.Kind, UserID: e.UserID,
				ChannelID: e.ChannelID, GuildID: e.GuildID, XType: e.XType, Message: &m, Admin: e.Admin,
			}
		}
	}
	e := &events.Event{
		Cursor: events.Cursor{Epoch: l.epoch, Seq: m.EditedSeq}, Kind: events.MessageUpdated,
		UserID: m.AuthorUserID, ChannelID: m.ChannelID, GuildID: "g1", XType: m.XType, Message: &m,
		Admin: m.Admin,
	}
	if m.Deleted {
		e.Kind = events.MessageDeleted
	}
	l.events = append(l.events, e)
	select {
	case l.rung <- struct{}{}:
	default:
	}
	return e.Cursor
}

func TestTheAdminHearsTriageAsNoMember(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "ann", "bob")
		n := newNode(t, l)
		live := n.open(t, Options{User: "adm"})
		live.expect(got{event: "stream.ready"})
		woken := n.open(t, Options{User: "adm", Filter: events.Filter{Wakeup: true}})
		woken.expect(got{event: "stream.ready"})
		bob := n.open(t, Options{User: "bob"})
		bob.expect(got{event: "stream.ready"})

		first := l.triage(ops, "ann", "first <@adm>")
		l.join(ops, "cyd")         // membership is not theirs to hear
		l.post(ops, "ann", "else") // nor is what is not of triage
		second := l.triage(ops, "ann", "second")
		edit := l.change(first, "edited")
		gone := l.change(second, "")
		end := l.create(channelNamed(2), "adm", "bob")
		for _, want := range []got{
			{event: "message.created", id: first.String(), data: `"wakeup":false,"wakeReason":"admin"`},
			{event: "message.created", id: second.String(), data: `"wakeReason":"admin"`},
			{event: "message.updated", id: edit.String(), data: `"content":"edited"`},
			{event: "message.deleted", id: gone.String(), data: `"deleted":true`},
			{event: "channel.joined", id: end.String()},
		} {
			live.expect(want)
		}
		woken.expect(got{event: "channel.joined", id: end.String()})
		// as who is not addressed
		for _, event := range []string{"member.joined", "message.created", "channel.joined"} {
			bob.expect(got{event: event})
		}

		replay := n.open(t, Options{User: "adm", Resume: &from})
		replay.expect(got{event: "stream.ready"})
		replay.expect(got{event: "message.created", id: first.String(), data: `"content":"edited"`})
		for _, want := range []got{
			{event: "message.created", id: second.String(), data: `"deleted":true`},
			{event: "message.updated", id: edit.String()},
			{event: "message.deleted", id: gone.String()},
			{event: "channel.joined", id: end.String()},
			{event: "stream.live"},
		} {
			if f := replay.expect(want); strings.Contains(f.data, "second") ||
				strings.Contains(f.data, "first") {
				t.Errorf("got %v, want nothing of the older text", f)
			}
		}
		if l.reads != 0 {
			t.Errorf("got %d reads of the log, want that all came from the ring", l.reads)
		}
	})
}

// An edit shows in every frame of the ring that has its message, and the ring's size follows.
func TestAnEditReplacesTheFramesOfTheRing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "ann", "bob")
		n := newNode(t, l)
		at, other := l.post(ops, "ann", "the first text"), l.post(ops, "ann", "another message")
		l.change(at, "the second text")
		l.change(at, strings.Repeat("long ", 1000))
		size := func() (noted, counted int) {
			time.Sleep(time.Second) // the log has been read
			synctest.Wait()
			n.mu.Lock()
			defer n.mu.Unlock()
			for _, e := range n.ring.events {
				counted += e.Size()
			}
			return n.ring.size, counted
		}
		if noted, counted := size(); noted != counted || noted < 3*3*5000 {
			t.Errorf("got a size of %d, want %d: three events with a long text", noted, counted)
		}
		l.change(at, "")
		if noted, counted := size(); noted != counted || noted > 10000 {
			t.Errorf("got a size of %d, want %d: nothing of the long text", noted, counted)
		}
		c := n.open(t, Options{User: "bob", Resume: &from})
		c.expect(got{event: "stream.ready"})
		for i, event := range []string{
			"message.created", "message.created", "message.updated",
			"message.updated", "message.deleted",
		} {
			if f := c.expect(got{event: event}); f.id == other.String() != strings.Contains(f.data,
				"another message") ||
				f.id != other.String() &&
					(!strings.Contains(f.data, `"deleted":true`) || strings.Contains(f.data, "content")) {
				t.Errorf("frame %d: got %v, want a message that is gone", i, f)
			}
		}
	})
}

// A script is the history of a channel's texts. Each text is "NUMBER.VERSION".
type script struct {
	*memLog
	rng   *rand.Rand
	in    map[string]bool
	posts []events.Cursor
	now   []int // the version of each message; -1: deleted
}

func (s *script) step() {
	u := fmt.Sprint("u", s.rng.IntN(4))
	switch k := s.rng.IntN(10); {
	case k < 2:
		if s.in[u] {
			s.leave(ops, u)
		} else {
			s.join(ops, u)
		}
		s.in[u] = !s.in[u]
	case k < 6 && len(s.posts) > 0:
		i := max(0, len(s.posts)-1-s.rng.IntN(8)) // mostly of the latest
		if s.now[i] < 0 {
			return
		}
		if s.now[i]++; s.rng.IntN(4) == 0 {
			s.now[i] = -1
			s.change(s.posts[i], "")
			return
		}
		s.change(s.posts[i], fmt.Sprintf("%d.%d", i, s.now[i]))
	default:
		s.posts = append(s.posts, s.post(ops, "author", fmt.Sprintf("%d.0", len(s.posts))))
		s.now = append(s.now, 0)
	}
}

// Edits, deletions, leaves and returns happen at random. A resumed stream shows no text that had been
// replaced before it was opened, and nobody gets a text that was written after they had left.
func TestResumedStreamsShowNoOldText(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := &script{memLog: newMemLog(), rng: rand.New(rand.NewPCG(seed, 3)), in: map[string]bool{}}
				from := s.create(ops, "author")
				for range 100 {
					s.step()
				}
				n := newNode(t, s.memLog) // so that a part is in the log only
				for range 6 {
					for range 60 {
						s.step()
					}
					time.Sleep(time.Second) // the node has read them
					synctest.Wait()
					for u := range 4 {
						name := fmt.Sprint("u", u)
						at := from
						if s.rng.IntN(2) == 0 {
							at.Seq += s.rng.Int64N(s.last())
						}
						c := n.open(t, Options{User: name, Resume: &at})
						for f, ok := c.next(); ok && f.event != "stream.live"; f, ok = c.next() {
							s.judge(t, name, f)
						}
						_ = c.conn.Close()
					}
				}
			})
		})
	}
}

// judge checks a replayed frame while nothing else happens.
func (s *script) judge(t *testing.T, user string, f got) {
	t.Helper()
	_, rest, found := strings.Cut(f.data, `"content":"`)
	if !found {
		return
	}
	text, _, _ := strings.Cut(rest, `"`)
	number, version, _ := strings.Cut(text, ".")
	i, _ := strconv.Atoi(number)
	if version != strconv.Itoa(s.now[i]) {
		t.Fatalf("%s: got %v, want version %d of it", user, f, s.now[i])
	}
	id, _ := events.ParseCursor(f.id)
	for _, m := range s.memberships(user) {
		e := s.events[id.Seq-1]
		if m.Covers(e) && m.Left != 0 && e.Message.EditedSeq > m.Left {
			t.Fatalf("%s left at %d: got %v, want nothing that was written at %d", user, m.Left, f,
				e.Message.EditedSeq)
		}
	}
}
