package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"fabric-guild/events/ssetest"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// The events that a server hears must be equal to those that it would read.
func TestHeardPostsAreTailedAsTheyAreStored(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	var servers []*db.DB
	for range 2 {
		d := openURL(t, url)
		d.SayHello(2 * time.Second)
		runDoorbell(t, d, url, discard())
		servers = append(servers, d)
	}
	d, other := servers[0], servers[1]
	for _, d := range servers {
		eventually(t, "it hears of the other", func() bool { return d.Hears() && !d.Alone() })
	}
	silent := openURL(t, url)
	from, want := manyPosts(t, d, silent)
	eventually(t, "the posts are heard", func() bool { return other.KnownEvents() >= want })
	heard := other.Known(from, 100)
	if len(heard.Events) != want {
		t.Fatalf("got %d events, want %d without a read", len(heard.Events), want)
	}
	rows, err := silent.Tail(t.Context(), from, 100)
	if err != nil {
		t.Fatal(err)
	}
	heard.Unread = false // it has not read since it listens
	if diff := cmp.Diff(rows, heard, asRead...); diff != "" {
		t.Errorf("-read +heard:\n%s", diff)
	}
	for i := range rows.Events {
		if diff := cmp.Diff(rows.Events[i].Message.Facts(), heard.Events[i].Message.Facts()); diff != "" {
			t.Errorf("the facts of message %d (-read +heard):\n%s", i, diff)
		}
	}
}

// A rumour mill has servers that post and rename, other transactions, and rings that arrive in any order,
// late, several times, damaged or never. The reader posts and renames too.
type rumourMill struct {
	t       *testing.T
	rng     *rand.Rand
	url     string
	sql     *pgx.Conn
	open    *pgx.Conn // has drawn a number
	channel uuid.UUID
	posting []*db.DB
	rings   []string
	reader  *db.DB
	at      events.Cursor
	got     []int64
	read    int // events of reads
}

func newRumourMill(t *testing.T, rng *rand.Rand) *rumourMill {
	t.Helper()
	url := dbtest.New(t)
	x := &rumourMill{t: t, rng: rng, url: url, sql: dbtest.Connect(t, url), reader: openURL(t, url)}
	for range 2 {
		d := openURL(t, url)
		d.BeHeard()
		x.posting = append(x.posting, d)
	}
	x.channel, x.at = create(t, x.posting[0], "alice")
	return x
}

func (x *rumourMill) step() {
	x.t.Helper()
	ctx := x.t.Context()
	switch n := x.rng.IntN(100); {
	case n < 30:
		d := append(x.posting, x.reader)[x.rng.IntN(3)]
		if x.rng.IntN(3) > 0 {
			post(x.t, d, x.channel, "alice", "hi")
		} else {
			rename(x.t, d, x.channel, fmt.Sprint("name ", x.rng.Uint64()))
		}
		if rings := d.Rings(ctx); d != x.reader {
			x.rings = append(x.rings, rings...)
		}
	case n < 34 && x.open == nil:
		x.open = dbtest.Connect(x.t, x.url)
		exec(x.t, x.open, `BEGIN`)
		exec(x.t, x.open,
			`INSERT INTO events (kind, channel_id, user_id) VALUES ('channel.updated', $1, 'alice')`,
			x.channel)
	case n < 40:
		x.end()
	case n < 80 && len(x.rings) > 0:
		i := len(x.rings) - 1 - x.rng.IntN(min(4, len(x.rings)))
		ring := x.rings[i]
		switch x.rng.IntN(8) {
		case 0:
			x.rings = slices.Delete(x.rings, i, i+1)
		case 1:
			ring = ring[:x.rng.IntN(len(ring))]
		}
		x.reader.Hear(ctx, ring)
	case n == 99: // a new epoch: the row of this one names another life
		x.end() // no epoch begins while a transaction has a number
		exec(x.t, x.sql, `UPDATE epochs SET key = epoch || ' ' || key`)
		if _, err := x.posting[0].Head(ctx); err != nil { // begins the next one
			x.t.Fatal(err)
		}
	default:
		x.tail()
	}
}

func (x *rumourMill) end() {
	x.t.Helper()
	if x.open == nil {
		return
	}
	exec(x.t, x.open, []string{`COMMIT`, `ROLLBACK`}[x.rng.IntN(2)])
	_ = x.open.Close(context.WithoutCancel(x.t.Context()))
	x.open = nil
}

// tail takes what follows, as the tailer does. It also reads at times without being told to, as a poll does.
func (x *rumourMill) tail() {
	x.t.Helper()
	limit := 1 + x.rng.IntN(5)
	tail := x.reader.Known(x.at, limit)
	if len(tail.Events) == 0 && (tail.Unread || x.rng.IntN(3) == 0) {
		var err error
		if tail, err = x.reader.Tail(x.t.Context(), x.at, limit); err != nil {
			x.t.Fatal(err)
		}
	}
	if tail.Epoch != x.at.Epoch && tail.Base < x.at.Seq {
		x.t.Fatalf("the epoch %d has the base %d, want all that was read: %v", tail.Epoch, tail.Base, x.at)
	}
	x.at.Epoch = tail.Epoch
	for _, e := range tail.Events {
		x.got = append(x.got, e.Cursor.Seq)
		x.at = e.Cursor
	}
	if tail.Last != 0 {
		x.read += len(tail.Events)
	}
}

// Rings of real servers, and changes of the reader's own, about a real event log: whatever happens to them,
// the reader gets every event once and in order.
func TestHeardPostsFollowTheLog(t *testing.T) {
	dbtest.Long(t) // TestHeardPostsAreTailedAsTheyAreStored is fast
	t.Parallel()
	seed := rand.Uint64()
	x := newRumourMill(t, rand.New(rand.NewPCG(seed, 1)))
	first := x.at.Seq
	begun := time.Now()
	for time.Since(begun) < atRandom() || x.read == len(x.got) && time.Since(begun) < ssetest.Patience {
		x.step()
	}
	x.end()
	want := column[int64](t, x.sql, `SELECT seq FROM events WHERE seq > $1 ORDER BY seq`, first)
	for deadline := time.Now().Add(ssetest.Patience); len(x.got) < len(want) && time.Now().Before(deadline); {
		x.tail()
	}
	for range 10 {
		x.tail()
	}
	if diff := cmp.Diff(want, x.got); diff != "" {
		t.Errorf("with seed %d (-log +shown):\n%s", seed, diff)
	}
	t.Log(fmt.Sprint(len(want), " events, ", len(x.got)-x.read, " of them were not read"))
	if x.read == len(x.got) {
		t.Error("no event was taken from a ring")
	}
}
