package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fabric-guild/db"
	"fabric-guild/events"

	"github.com/google/uuid"
)

// A told is a random history of some channels, with a model of it: who was where when, what was said, and
// what each user has marked as read.
type told struct {
	t        *testing.T
	d        *db.DB
	rng      *rand.Rand
	channels []*toldChannel
	users    []string
}

type toldChannel struct {
	events.Channel
	duty     []string
	members  map[string][]events.Interval
	messages []*toldMessage
	marks    map[string]int64
}

type toldMessage struct {
	events.Message
	edited  int64
	deleted bool
}

func tell(t *testing.T, d *db.DB, seed uint64) *told {
	h := &told{t: t, d: d, rng: rand.New(rand.NewPCG(seed, 1)), users: []string{"u0", "u1", "u2", "u3"}}
	for _, x := range []struct {
		kind    events.XType
		history string
	}{
		{events.General, "joined"},
		{events.General, "all"},
		{events.Triage, "joined"},
		{events.Report, "joined"},
	} {
		c := &toldChannel{members: map[string][]events.Interval{}, marks: map[string]int64{}}
		c.Channel = events.Channel{
			ID: uuid.Must(uuid.NewV7()), GuildID: "g1", Name: "c", XType: x.kind,
			History: x.history, CreatedBy: "u0", Settings: events.DefaultSettings(x.kind),
		}
		if x.kind == events.Triage {
			c.duty = []string{"u1"}
		}
		h.tx(func(ctx context.Context, tx db.Tx) error {
			at, _, err := tx.CreateChannel(ctx, &c.Channel, h.users, c.duty)
			for _, u := range h.users {
				c.members[u] = append(c.members[u][:0:0], events.Interval{Joined: at.Seq})
			}
			return err
		})
		h.channels = append(h.channels, c)
	}
	return h
}

func (h *told) tx(do func(ctx context.Context, tx db.Tx) error) {
	h.t.Helper()
	if err := h.d.InTx(h.t.Context(), do); err != nil {
		h.t.Fatal(err)
	}
}

// is returns the interval of a user that lasts; nil: the user is no member.
func (c *toldChannel) is(user string) *events.Interval {
	all := c.members[user]
	if n := len(all); n > 0 && all[n-1].Left == 0 {
		return &all[n-1]
	}
	return nil
}

// in returns the interval by which a user was there at a number.
func (c *toldChannel) in(user string, seq int64) (events.Interval, bool) {
	for _, i := range c.members[user] {
		if i.Joined <= seq && (i.Left == 0 || seq < i.Left) {
			return i, true
		}
	}
	return events.Interval{}, false
}

// readable reports whether a member may read a message.
func (c *toldChannel) readable(user string, m *toldMessage) bool {
	_, there := c.in(user, m.Seq)
	return c.History == "all" || there
}

var vocabulary = []string{
	"disk", "full", "error", "build", "green", "red", "deploy", "<b>bold</b>",
	"foo-bar", "http://a.example/x",
}

func (h *told) text() string {
	words := make([]string, 1+h.rng.IntN(6))
	for i := range words {
		words[i] = vocabulary[h.rng.IntN(len(vocabulary))]
	}
	return strings.Join(words, " ")
}

// step lets something happen.
func (h *told) step() {
	h.t.Helper()
	c := h.channels[h.rng.IntN(len(h.channels))]
	user := h.users[h.rng.IntN(len(h.users))]
	switch n := h.rng.IntN(100); {
	case c.is(user) == nil:
		if n > 30 {
			return
		}
		h.tx(func(ctx context.Context, tx db.Tx) error {
			at, err := tx.AddMember(ctx, c.ID, user)
			if err == nil {
				c.members[user] = append(c.members[user], events.Interval{Joined: at.Seq})
			}
			return err
		})
	case n < 55:
		var mentioned []string
		if h.rng.IntN(3) == 0 {
			mentioned = []string{h.users[h.rng.IntN(len(h.users))]}
		}
		p := post(h.t, h.d, c.ID, user, h.text(), mentioned...)
		c.messages = append(c.messages, &toldMessage{Message: p.Message})
	case n < 75 && len(c.messages) > 0:
		m := c.messages[h.rng.IntN(len(c.messages))]
		if m.deleted {
			return
		}
		text, gone := h.text(), h.rng.IntN(3) == 0
		if gone {
			text = ""
		}
		h.tx(func(ctx context.Context, tx db.Tx) error {
			if err := tx.LockMessage(ctx, m.ID); err != nil {
				return err
			}
			at, err := tx.EditMessage(ctx, &m.Message, m.AuthorUserID, text, gone, "")
			m.edited, m.deleted = at.Seq, gone
			return err
		})
	case n < 83:
		h.tx(func(ctx context.Context, tx db.Tx) error {
			at, err := tx.RemoveMember(ctx, c.ID, user)
			c.is(user).Left = at.Seq
			return err
		})
	case n < 95 && len(c.messages) > 0:
		m := c.messages[h.rng.IntN(len(c.messages))]
		if !c.readable(user, m) {
			return
		}
		joined := c.is(user).Joined
		was, marked := c.marks[user]
		want := marked && m.Seq > was || !marked && m.Seq >= joined
		changed, err := h.d.MarkRead(h.t.Context(), user, c.ID, m.Seq, joined)
		if err != nil || changed != want {
			h.t.Fatalf("got changed %v and error %v, want %v", changed, err, want)
		}
		if want {
			c.marks[user] = m.Seq
		}
	}
}

// unread counts by the model.
func (c *toldChannel) unread(user string) (all, waking int) {
	current := c.is(user)
	if current == nil {
		return 0, 0
	}
	from, marked := c.marks[user]
	if !marked {
		from = current.Joined
	}
	for i := len(c.messages) - 1; i >= 0 && all < db.MaxUnread; i-- {
		m := c.messages[i]
		if m.Seq <= from || m.AuthorUserID == user || m.deleted || !c.readable(user, m) {
			continue
		}
		facts := m.Facts()
		facts.WakeList = c.duty
		switch outcome, _ := facts.Decide(user); outcome {
		case events.Wake:
			all++
			if _, there := c.in(user, m.Seq); there { // otherwise no stream has woken the user
				waking++
			}
		case events.Observer:
			all++
		}
	}
	return all, waking
}

// Unread counts equal a model over random histories, and what the stream shows. What a user has read is a
// message that the user may read.
func TestUnreadEqualsAModel(t *testing.T) {
	t.Parallel()
	rounds := 30
	if testing.Short() {
		rounds = 10
	}
	for seed := range histories(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			d := open(t)
			h := tell(t, d, seed)
			var ids []uuid.UUID
			for _, c := range h.channels {
				ids = append(ids, c.ID)
			}
			nonzero := 0
			for range rounds {
				for range 15 {
					h.step()
				}
				head, err := d.Head(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, user := range h.users {
					got, err := d.Unread(t.Context(), user, ids, db.Now)
					if err != nil {
						t.Fatal(err)
					}
					asOf, err := d.Unread(t.Context(), user, ids, head.Seq)
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range h.channels {
						all, waking := c.unread(user)
						u := got[c.ID]
						if u.Messages != all || u.Waking != waking {
							t.Fatalf("%s in %s (%s): got %d unread, %d waking, want %d, %d", user, c.XType,
								c.History, u.Messages, u.Waking, all, waking)
						}
						if a := asOf[c.ID]; a.Messages != all || a.Waking != waking {
							t.Fatalf("got %+v as of the head, want %+v", a, u)
						}
						if all > 0 {
							nonzero++
						}
						mark, marked := c.marks[user]
						if marked != (u.ReadTo != nil) ||
							marked && !slices.ContainsFunc(
								c.messages, func(m *toldMessage) bool {
									return m.Seq == mark &&
										m.ID == *u.ReadTo
								},
							) {
							t.Fatalf("got read to %v, want the message %d", u.ReadTo, mark)
						}
						if c.History == "joined" && c.is(user) != nil {
							h.streamed(user, c, head.Seq, all)
						}
					}
				}
			}
			if nonzero < 100 {
				t.Errorf("got something unread in %d cases, want many", nonzero)
			}
		})
	}
}

// streamed checks a count against the stream.
func (h *told) streamed(user string, c *toldChannel, upTo int64, want int) {
	h.t.Helper()
	from, marked := c.marks[user]
	if !marked {
		from = c.is(user).Joined
	}
	shown := 0
	for from < upTo {
		page, err := h.d.Replay(h.t.Context(), user, from, upTo)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, e := range page.Events {
			if e.Kind == events.MessageCreated && e.ChannelID == c.ID && !e.Message.Deleted &&
				e.FrameFor(user, e.In, &events.Filter{}) != nil {
				shown++
			}
		}
		from = page.Reached
	}
	if shown = min(shown, db.MaxUnread); shown != want {
		h.t.Fatalf("%s in %s: got %d unread, and the stream shows %d", user, c.XType, want, shown)
	}
}

// A query of a test, and how the model decides about the words of a text.
var queries = []struct {
	text    string
	matches func(words []string) bool
}{
	{"disk", func(w []string) bool { return slices.Contains(w, "disk") }},
	{"disk full", func(w []string) bool { return slices.Contains(w, "disk") && slices.Contains(w, "full") }},
	{`"disk full"`, func(w []string) bool {
		for i := 1; i < len(w); i++ {
			if w[i-1] == "disk" && w[i] == "full" {
				return true
			}
		}
		return false
	}},
	{"error -build", func(w []string) bool {
		return slices.Contains(w, "error") &&
			!slices.Contains(w, "build")
	}},
	{"green or RED", func(w []string) bool {
		return slices.Contains(w, "green") ||
			slices.Contains(w, "red")
	}},
}

// Searches equal a scan of the model over random histories, page by page, also while the index is behind.
// Edits and deletions count at once.
func TestSearchEqualsAScan(t *testing.T) {
	t.Parallel()
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	for seed := range histories(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			d := open(t)
			h := tell(t, d, seed+100)
			hits := 0
			for round := range rounds {
				for range 20 {
					h.step()
				}
				if round%3 != 0 {
					head, err := d.Head(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if _, err := d.IndexWords(t.Context(), head); err != nil {
						t.Fatal(err)
					}
				}
				for _, user := range h.users {
					for _, q := range queries {
						hits += h.search(user, q.text, "", q.matches)
					}
					hits += h.search(user, "disk", "u2", queries[0].matches)
				}
			}
			if hits < 25*rounds {
				t.Errorf("got %d hits, want many", hits)
			}
		})
	}
}

// search compares a search with a scan of the model, and returns the number of hits. Each search has pages of
// another size.
func (h *told) search(user, text, author string, matches func([]string) bool) int {
	h.t.Helper()
	scope, words, indexed, err := h.d.SearchScope(h.t.Context(), user, nil, "", text)
	if err != nil || words == 0 {
		h.t.Fatalf("got %d words and error %v", words, err)
	}
	var want []*toldMessage
	for _, c := range h.channels {
		current := c.is(user)
		for _, m := range c.messages {
			if current == nil || m.deleted || m.Seq > indexed.Seq || !c.readable(user, m) ||
				author != "" && m.AuthorUserID != author {
				continue
			}
			in, there := c.in(user, m.Seq)
			if there && c.History != "all" && in.Left != 0 && m.edited > in.Left &&
				current.Joined > m.edited {
				continue // it was edited while the user was away
			}
			if matches(strings.Fields(m.Content)) {
				want = append(want, m)
			}
		}
	}
	slices.SortFunc(want, func(a, b *toldMessage) int { return int(b.Seq - a.Seq) })
	var got []db.Hit
	s := db.Search{User: user, Channels: scope, Query: text, Author: author, Limit: 1 + h.rng.IntN(20)}
	for pages := 0; ; pages++ {
		page, next, err := h.d.Search(h.t.Context(), s)
		if err != nil || pages > 1000 {
			h.t.Fatalf("got error %v after %d pages", err, pages)
		}
		got = append(got, page...)
		if next == 0 {
			break
		}
		s.Before = next
	}
	same := slices.EqualFunc(want, got,
		func(m *toldMessage, hit db.Hit) bool { return m.ID == hit.ID && m.Content == hit.Content })
	if !same {
		h.t.Fatalf("%s searches %s: got %d hits, want %d", user, text, len(got), len(want))
	}
	return len(got)
}
