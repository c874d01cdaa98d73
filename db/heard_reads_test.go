package db_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"
	"fabric-guild/events/live"

	"github.com/google/uuid"
)

// A readingServer is a server with its doorbell and its tailer. It counts the reads of the event log.
type readingServer struct {
	*db.DB
	reads  atomic.Int64
	router *live.Router
}

func (s *readingServer) Tail(ctx context.Context, after events.Cursor, limit int) (events.Tail, error) {
	s.reads.Add(1)
	return s.DB.Tail(ctx, after, limit)
}

// readingServers returns servers that hear each other.
func readingServers(t *testing.T, n int) (servers []*readingServer) {
	t.Helper()
	url := dbtest.New(t)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(stop)
	for range n {
		s := &readingServer{DB: openURL(t, url)}
		head, err := s.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.router = live.NewRouter(s, head)
		tailer := live.NewTailer(s, s.router, s.Bell(), discard())
		s.OnEvents(tailer.Take)
		s.SayHello(2 * time.Second)
		running.Go(func() { tailer.Run(ctx) })
		running.Go(func() { s.RunDoorbell(ctx, url, discard()) })
		servers = append(servers, s)
	}
	for _, s := range servers {
		eventually(t, "it hears of the others", func() bool { return s.Hears() && !s.Alone() })
	}
	return servers
}

// reach waits until all servers have published up to a position.
func reach(t *testing.T, servers []*readingServer, at events.Cursor) {
	t.Helper()
	for _, s := range servers {
		eventually(t, "the events are published", func() bool { return s.router.Position().Seq >= at.Seq })
	}
}

// Servers know the events of posts, their own and those of others. So they read the event log only from time
// to time, however many posts there are.
func TestPostsAreNotRead(t *testing.T) {
	dbtest.Long(t) // TestRowsRead is fast
	t.Parallel()
	const authors, posts = 16, 100
	servers := readingServers(t, 2)
	channel, at := create(t, servers[0].DB, "alice")
	reach(t, servers, at)
	begun := time.Now()
	before := []int64{servers[0].reads.Load(), servers[1].reads.Load()}
	var last atomic.Int64
	var posting sync.WaitGroup
	for range authors {
		posting.Go(func() {
			for range posts {
				p, err := servers[0].Post(t.Context(), newMessage(channel, "alice", "hi"))
				if err != nil {
					t.Error(err)
					return
				}
				for was := last.Load(); was < p.Cursor.Seq && !last.CompareAndSwap(was, p.Cursor.Seq); {
					was = last.Load()
				}
			}
		})
	}
	posting.Wait()
	reach(t, servers, events.Cursor{Seq: last.Load()})
	// Polls, and reads because a number is undecided.
	allowed := 5 + int64(time.Since(begun)/(250*time.Millisecond))
	for i, s := range servers {
		reads := s.reads.Load() - before[i]
		t.Logf("server %d: %d reads for %d posts, %d are allowed", i+1, reads, authors*posts, allowed)
		if reads > allowed {
			t.Errorf("server %d: got %d reads, want %d at most", i+1, reads, allowed)
		}
	}
}

// Servers know renames too, their own and those of others.
func TestRenamesAreNotRead(t *testing.T) {
	t.Parallel()
	const names = 100
	servers := readingServers(t, 2)
	channel, at := create(t, servers[0].DB, "alice")
	reach(t, servers, at)
	begun := time.Now()
	before := []int64{servers[0].reads.Load(), servers[1].reads.Load()}
	for i := range names {
		at = rename(t, servers[0].DB, channel, fmt.Sprint("name ", i))
		reach(t, servers, at)
	}
	allowed := 5 + int64(time.Since(begun)/(250*time.Millisecond)) // polls
	for i, s := range servers {
		reads := s.reads.Load() - before[i]
		t.Logf("server %d: %d reads for %d names, %d are allowed", i+1, reads, names, allowed)
		if reads > allowed {
			t.Errorf("server %d: got %d reads, want %d at most", i+1, reads, allowed)
		}
	}
}

// A ring tells the other servers to read what it does not carry.
func TestARingTellsOfWhatItDoesNotCarry(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := dbtest.New(t)
	d, other := openURL(t, url), openURL(t, url)
	d.BeHeard()
	at, err := d.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	channel, created := create(t, d, "alice")
	tell := func(what string, seq int64, wantUnread bool) {
		t.Helper()
		for _, ring := range d.Rings(ctx) {
			other.Hear(ctx, ring)
		}
		known := other.Known(at, 100)
		if known.Unread != wantUnread {
			t.Errorf("%s: a read is needed: got %v, want %v", what, known.Unread, wantUnread)
		}
		read, err := other.Tail(ctx, at, 100)
		if err != nil {
			t.Fatal(err)
		}
		if found := append(seqs(known.Events), seqs(read.Events)...); found[len(found)-1] != seq {
			t.Errorf("%s: got %v, want all up to %d", what, found, seq)
		}
		at.Seq = seq
	}
	tell("a channel", created.Seq, false)
	tell("a post", post(t, d, channel, "alice", "hi").Cursor.Seq, false)
	large := newMessage(channel, "alice", strings.Repeat("x", 8000))
	p, err := d.Post(ctx, large)
	if err != nil {
		t.Fatal(err)
	}
	tell("a large post", p.Cursor.Seq, true)
	p = post(t, d, channel, "alice", "hi")
	var edited events.Cursor
	err = d.InTx(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		edited, err = tx.EditMessage(ctx, &p.Message, "alice", "hello", false, "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tell("a post and its edit", edited.Seq, true)
	if _, err := d.Post(ctx, newMessage(uuid.New(), "alice", "hi")); err == nil {
		t.Error("got a post to no channel")
	}
	if rings := d.Rings(ctx); len(rings) != 0 {
		t.Errorf("got %d rings for a post that was refused, want none", len(rings))
	}
}
