package live

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"fabric-guild/events"
	"fabric-guild/events/ssetest"
)

// A memLog is an event log in memory, for tests with a fake clock: Postgres cannot run in a synctest bubble.
// Memberships follow from its events.
type memLog struct {
	mu     sync.Mutex
	events []*events.Event
	epoch  int64
	base   int64
	floor  int64
	down   bool          // everything fails
	blind  bool          // Tail fails
	stall  chan struct{} // Memberships waits for it, when it is set
	rung   chan struct{}
	reads  int    // of Replay
	loads  []int  // of Memberships, for how many users each
	asked  int    // of Replay and Memberships
	poison string // Memberships fails for this user and whoever is read together with them
	failed []int  // of Memberships that failed, for how many users each
	// paging is called before each page of Memberships, if it is set.
	paging func(users []string, from events.Place)
	lasts  int // how many more Replays succeed; 0: all
	// placing is called at the beginning of Reading, if it is set.
	placing func()
	// reading is called at the beginning of Replay, if it is set.
	reading func(user string)
	// checked is called at the end of CheckCursor, if it is set.
	checked func(position events.Cursor)
}

func newMemLog() *memLog { return &memLog{epoch: 7, rung: make(chan struct{}, 1)} }

func (l *memLog) append(e *events.Event) events.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Cursor = events.Cursor{Epoch: l.epoch, Seq: l.last() + 1}
	e.GuildID = "g1"
	if e.Message != nil {
		e.Admin = e.Message.Admin
		e.Message.Settle()
	}
	l.events = append(l.events, e)
	select {
	case l.rung <- struct{}{}:
	default:
	}
	return e.Cursor
}

// last returns the number of the last event; the numbers have no gaps.
func (l *memLog) last() int64 {
	if n := len(l.events); n > 0 {
		return l.events[n-1].Cursor.Seq
	}
	return l.base
}

var errDown = errors.New("the log is down")

func (l *memLog) Tail(_ context.Context, at events.Cursor, limit int) (events.Tail, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down || l.blind {
		return events.Tail{}, errDown
	}
	t := events.Tail{Epoch: l.epoch, Base: l.base, Floor: l.floor}
	after := at.Seq
	if after < l.floor {
		return t, nil
	}
	from := min(len(l.events), max(0, len(l.events)-int(l.last()-after)))
	t.Events = slices.Clone(l.events[from:min(len(l.events), from+limit)])
	return t, nil
}

// Known knows nothing.
func (l *memLog) Known(after events.Cursor, _ int) events.Tail {
	return events.Tail{Epoch: after.Epoch, Unread: true}
}

// Reading has places for everybody.
func (l *memLog) Reading(context.Context) (done func(), err error) {
	if l.placing != nil {
		l.placing()
	}
	return func() {}, nil
}

func (l *memLog) Replay(_ context.Context, user string, after, upTo int64) (events.Page, error) {
	if l.reading != nil {
		l.reading(user)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	l.asked++
	if l.lasts > 0 {
		if l.lasts--; l.lasts == 0 {
			l.down = true
		}
	}
	if l.down {
		return events.Page{}, errDown
	}
	if after < l.floor {
		return events.Page{}, events.ErrExpired
	}
	upTo = min(upTo, after+50)
	p := events.Page{Reached: upTo, Epoch: l.epoch}
	all := l.memberships(user)
	for _, e := range l.events {
		i := slices.IndexFunc(all, func(m events.Membership) bool { return m.Covers(e) })
		if (i < 0 && !e.ForAdmin(user)) || e.Cursor.Seq <= after || e.Cursor.Seq > upTo {
			continue
		}
		h := events.Heard{Event: e}
		if i >= 0 {
			h.In = all[i].Interval
		}
		p.Events = append(p.Events, h)
	}
	return p, nil
}

// CheckCursor knows the epochs since 7, the first one. Of the earlier epochs it accepts cursors up to the
// base.
func (l *memLog) CheckCursor(_ context.Context, c, position events.Cursor) (reset string, err error) {
	if l.checked != nil {
		defer l.checked(position)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.Epoch < 7 || c.Epoch > l.epoch:
		return events.ResetUnknownEpoch, nil
	case c.Epoch < l.epoch && c.Seq > l.base:
		return events.ResetLostTail, nil
	}
	return "", nil
}

func (l *memLog) Memberships(
	ctx context.Context, users []string, asOf int64, from events.Place, limit int,
) (map[string][]events.Membership, error) {
	if l.paging != nil {
		l.paging(users, from)
	}
	l.mu.Lock()
	stall := l.stall
	l.asked++
	l.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down || l.poison != "" && slices.Contains(users, l.poison) {
		l.failed = append(l.failed, len(users))
		return nil, errDown
	}
	l.loads = append(l.loads, len(users))
	out := map[string][]events.Membership{}
	for _, user := range users {
		all := l.memberships(user)
		slices.SortFunc(all, func(a, b events.Membership) int {
			return cmp.Or(cmp.Compare(a.Left, b.Left), bytes.Compare(a.ChannelID[:], b.ChannelID[:]))
		})
		for _, m := range all {
			open := m.Left == 0 && bytes.Compare(m.ChannelID[:], from.Channel[:]) > 0
			if m.Joined <= asOf && (open || m.Left > from.Left) && len(out[user]) < limit {
				out[user] = append(out[user], m)
			}
		}
	}
	return out, nil
}

func (l *memLog) memberships(user string) []events.Membership {
	var out []events.Membership
	for _, e := range l.events {
		switch {
		case slices.Contains(e.Joiners(), user):
			out = append(out, events.Membership{
				Interval: events.Interval{ChannelID: e.ChannelID, Joined: e.Cursor.Seq},
				Channel:  events.Channel{ID: e.ChannelID, GuildID: "g1", XType: e.XType},
			})
		case e.Kind == events.MemberLeft && e.UserID == user:
			for i := range out {
				if out[i].ChannelID == e.ChannelID && out[i].Left == 0 {
					out[i].Left = e.Cursor.Seq
				}
			}
		}
	}
	return out
}

func (l *memLog) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// These methods append what happens in a channel.
func (l *memLog) create(channel uuid.UUID, members ...string) events.Cursor {
	return l.append(&events.Event{
		Kind: events.ChannelCreated, ChannelID: channel, UserID: members[0],
		XType: events.General, Joined: members,
	})
}

func (l *memLog) join(channel uuid.UUID, user string) events.Cursor {
	return l.append(&events.Event{
		Kind: events.MemberJoined, ChannelID: channel, UserID: user,
		XType: events.General,
	})
}

func (l *memLog) leave(channel uuid.UUID, user string) events.Cursor {
	return l.append(&events.Event{
		Kind: events.MemberLeft, ChannelID: channel, UserID: user,
		XType: events.General,
	})
}

func (l *memLog) post(channel uuid.UUID, author, content string) events.Cursor {
	return l.append(&events.Event{
		Kind: events.MessageCreated, ChannelID: channel, UserID: author,
		XType: events.General, Message: &events.Message{
			ID: uuid.New(), ChannelID: channel, GuildID: "g1", XType: events.General, AuthorUserID: author,
			Content: content,
		},
	})
}

// A node reads a memLog. Its goroutines end with the test.
type node struct {
	*Router
	log    *memLog
	tailer *Tailer
}

func newNode(t *testing.T, l *memLog) *node {
	t.Helper()
	return newNodeOver(t, l, l)
}

// newNodeOver is newNode with another log for the tailer, over l.
func newNodeOver(t *testing.T, l *memLog, tailed Log) *node {
	t.Helper()
	at := events.Cursor{Epoch: l.epoch, Seq: l.last()}
	logger := slog.New(slog.DiscardHandler)
	r := NewRouter(l, at)
	n := &node{r, l, NewTailer(tailed, r, l.rung, logger)}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.tailer.Run(ctx) })
	t.Cleanup(func() {
		done, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		r.Close(done)
		stop()
		wg.Wait()
	})
	return n
}

// A client reads a stream over a pipe. The pipe has no buffer: a write blocks until the client reads.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	s    *Session
}

// got is a frame as a client sees it.
type got struct{ event, data, id, comment string }

func (n *node) open(t *testing.T, opts Options) *client {
	t.Helper()
	s, err := n.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	serveConn(ours, s)
	t.Cleanup(func() { _ = theirs.Close() })
	return &client{t, theirs, bufio.NewReader(theirs), s}
}

// next reads a frame; false at the end of the stream.
func (c *client) next() (got, bool) {
	f, err := ssetest.ReadFrame(c.in)
	if errors.Is(err, ssetest.ErrStrict) {
		c.t.Fatal(err)
	}
	return got{f.Event, f.Data, f.ID, f.Comment}, err == nil
}

// expect reads a frame and compares what want has set.
func (c *client) expect(want got) got {
	c.t.Helper()
	f, ok := c.next()
	if !ok {
		c.t.Fatalf("the stream ended, want %v", want)
	}
	if f.event != want.event || want.id != "" && f.id != want.id ||
		want.comment != "" && f.comment != want.comment ||
		want.data != "" && !strings.Contains(f.data, want.data) {
		c.t.Fatalf("got %v, want %v", f, want)
	}
	return f
}

func (c *client) expectEnd() {
	c.t.Helper()
	if f, ok := c.next(); ok {
		c.t.Fatalf("got %v, want the end of the stream", f)
	}
}

// bubble runs a test whose clock moves only when everyone waits.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}
