package db_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"
	"fabric-guild/events/ssetest"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// exec runs a statement behind the server's back.
func exec(t testing.TB, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := c.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// newLife makes the database believe that it is in another life.
func newLife(t testing.TB, c *pgx.Conn) {
	t.Helper()
	exec(t, c, `UPDATE epochs SET key = epoch::text`)
}

func seqs(found []*events.Event) []int64 {
	out := []int64{}
	for _, e := range found {
		out = append(out, e.Cursor.Seq)
	}
	return out
}

func heard(page events.Page) []int64 {
	out := []int64{}
	for _, e := range page.Events {
		out = append(out, e.Cursor.Seq)
	}
	return out
}

func tail(t *testing.T, d *db.DB, after int64) events.Tail {
	t.Helper()
	got, err := d.Tail(t.Context(), events.Cursor{Seq: after}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Rules 1 and 8: a number that is drawn and undecided holds the horizon.
func TestALateCommitIsNeverSkipped(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"COMMIT", "ROLLBACK"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			url := dbtest.New(t)
			d := openURL(t, url)
			channel, created := create(t, d, "alice", "bob")
			late := dbtest.Connect(t, url)
			exec(t, late, `BEGIN`)
			exec(t, late,
				`INSERT INTO events (kind, channel_id, user_id) VALUES ('channel.updated', $1, 'alice')`,
				channel)
			p := post(t, d, channel, "alice", "committed first, drawn last")

			if got := tail(t, d, created.Seq); len(got.Events) != 0 || !got.Pending {
				t.Fatalf("while a smaller number is undecided: got %v, pending %v; want nothing, pending",
					seqs(got.Events), got.Pending)
			}
			if head, err := d.Head(t.Context()); err != nil || head != created {
				t.Errorf("a snapshot's cursor: got %v, %v; want %v, below what is undecided", head,
					err, created)
			}
			exec(t, late, end)
			want := []int64{p.Cursor.Seq}
			if end == "COMMIT" {
				want = []int64{p.Cursor.Seq - 1, p.Cursor.Seq}
			}
			if got := tail(t, d, created.Seq); !slices.Equal(seqs(got.Events), want) || got.Pending {
				t.Errorf("once it is decided: got %v, pending %v; want %v", seqs(got.Events),
					got.Pending, want)
			}
		})
	}
}

// Rule 3: only the locks of this event log hold the horizon.
func TestLocksOfOthersDoNotHoldTheHorizon(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	channel, created := create(t, d, "alice")
	other := dbtest.Connect(t, url)
	exec(t, other,
		`SELECT pg_advisory_lock(1), pg_advisory_lock(0, 1), pg_advisory_lock(((log_tag() + 1) << 47) | 1)`)
	p := post(t, d, channel, "alice", "hi")
	if got := tail(t, d, created.Seq); !slices.Equal(seqs(got.Events), []int64{p.Cursor.Seq}) || got.Pending {
		t.Errorf("got %v, pending %v; want %v", seqs(got.Events), got.Pending, p.Cursor.Seq)
	}
}

// A long transaction elsewhere in the cluster delays nobody.
func TestALongTransactionInAnotherDatabaseDelaysNobody(t *testing.T) {
	t.Parallel()
	elsewhere := dbtest.Connect(t, dbtest.New(t))
	exec(t, elsewhere, `BEGIN`)
	exec(t, elsewhere, `CREATE TABLE busy (n int)`)
	// a writer there would hold this lock
	exec(t, elsewhere, `SELECT pg_advisory_xact_lock_shared((log_tag() << 47) | 1)`)
	d := open(t)
	channel, created := create(t, d, "alice")
	p := post(t, d, channel, "alice", "hi")
	if got := tail(t, d, created.Seq); !slices.Equal(seqs(got.Events), []int64{p.Cursor.Seq}) || got.Pending {
		t.Errorf("got %v, pending %v; want %v", seqs(got.Events), got.Pending, p.Cursor.Seq)
	}
}

// Rules 1 to 9 together: writers stall, roll back and draw several numbers, and readers follow. The order
// that a reader sees is final: nothing appears later below its position.
func TestReadersLoseNothingAmongConcurrentWriters(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	channel, created := create(t, d, "alice")
	const writers = 8
	rounds := 60
	if testing.Short() {
		rounds = 20
	}
	var wg sync.WaitGroup
	for w := range writers {
		c := dbtest.Connect(t, url)
		rng := rand.New(rand.NewPCG(1, uint64(w)))
		wg.Go(func() {
			for range rounds {
				if err := stallingWriter(t.Context(), c, channel, rng); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var seen []int64
	at := created.Seq
	for finished := false; ; {
		got := tail(t, d, at)
		seen = append(seen, seqs(got.Events)...)
		if len(got.Events) > 0 {
			at = seen[len(seen)-1]
		}
		if finished && len(got.Events) == 0 {
			break
		}
		select {
		case <-done:
			finished = true
		default:
		}
	}
	rows, err := dbtest.Connect(t, url).Query(t.Context(),
		`SELECT seq FROM events WHERE seq > $1 ORDER BY seq`, created.Seq)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen, want) {
		t.Errorf("the reader saw %d events, the log holds %d; first difference around %d",
			len(seen), len(want), firstDifference(seen, want))
	}
	if len(want) < writers*rounds/2 {
		t.Errorf("only %d events were committed: too few for this test", len(want))
	}
}

// stallingWriter appends one to three events with pauses, and rolls one transaction in four back.
func stallingWriter(ctx context.Context, c *pgx.Conn, channel uuid.UUID, rng *rand.Rand) error {
	_, err := c.Exec(ctx, `BEGIN`)
	for range 1 + rng.IntN(3) {
		if err == nil {
			_, err = c.Exec(ctx,
				`INSERT INTO events (kind, channel_id, user_id) VALUES ('channel.updated', $1, 'alice')`,
				channel)
		}
		if err == nil {
			_, err = c.Exec(ctx, `SELECT pg_sleep($1)`, float64(rng.IntN(3))/1000)
		}
	}
	end := `COMMIT`
	if rng.IntN(4) == 0 {
		end = `ROLLBACK`
	}
	if err == nil {
		_, err = c.Exec(ctx, end)
	}
	return err
}

func firstDifference(a, b []int64) int64 {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return a[i]
		}
	}
	return -1
}

// Rule 13: a new life of the database begins an epoch before its first append.
func TestANewLifeOfTheDatabaseBeginsAnEpoch(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	channel, _ := create(t, d, "alice")
	gone := post(t, d, channel, "alice", "gone").Cursor.Seq
	before := post(t, d, channel, "alice", "before").Cursor
	exec(t, dbtest.Connect(t, url), `DELETE FROM events WHERE seq = $1`, gone)
	newLife(t, dbtest.Connect(t, url))

	after := post(t, d, channel, "alice", "after").Cursor
	if after.Epoch <= before.Epoch || after.Seq <= before.Seq {
		t.Errorf("got %v after %v, want a later epoch and number", after, before)
	}
	got, err := d.Tail(t.Context(), before, 10)
	if err != nil || got.Epoch != after.Epoch || got.Base != before.Seq {
		t.Errorf("got epoch %d with base %d, %v; want %d with %d",
			got.Epoch, got.Base, err, after.Epoch, before.Seq)
	}
	for _, tt := range []struct {
		cursor events.Cursor
		want   string
	}{
		{before, ""},
		{events.Cursor{Epoch: before.Epoch, Seq: before.Seq + 1}, events.ResetLostTail},
		{events.Cursor{Epoch: before.Epoch - 1, Seq: 1}, events.ResetUnknownEpoch},
		{events.Cursor{Epoch: after.Epoch + 1, Seq: 1}, events.ResetUnknownEpoch},
		{after, ""},
		{events.Cursor{Epoch: after.Epoch, Seq: after.Seq + 1}, events.ResetBeyond},
		{events.Cursor{Epoch: before.Epoch, Seq: before.Seq - 1}, events.ResetLostTail}, // its event is gone
	} {
		if reset, err := d.CheckCursor(t.Context(), tt.cursor, events.Cursor{}); reset != tt.want ||
			err != nil {
			t.Errorf("%v: got %q, %v; want %q", tt.cursor, reset, err, tt.want)
		}
	}
}

// A server missed a life that began with less than the server had read. It learns what has survived of its
// own position, not what the latest life began with. A server whose connection leads to an older life reads
// nothing.
func TestALifeThatAServerMissedCounts(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	channel, _ := create(t, d, "alice")
	var at []events.Cursor
	for range 3 {
		at = append(at, post(t, d, channel, "alice", "hi").Cursor)
		newLife(t, dbtest.Connect(t, url))
	}
	// As if the second life was that of a copy without the first post.
	exec(t, dbtest.Connect(t, url), `UPDATE epochs SET base = $1 WHERE epoch = $2`, at[0].Seq-1, at[1].Epoch)
	post(t, d, channel, "alice", "in the fourth life")
	got, err := d.Tail(t.Context(), at[0], 10)
	if err != nil || got.Base != at[0].Seq-1 {
		t.Errorf("got base %d, %v; want %d", got.Base, err, at[0].Seq-1)
	}
	if _, err := d.Tail(t.Context(), events.Cursor{Epoch: got.Epoch + 1, Seq: at[0].Seq}, 10); !errors.Is(err,
		db.ErrUnavailable) {
		t.Errorf("from a later life: got %v, want %v", err, db.ErrUnavailable)
	}
}

// After the clock is set back, no epoch's number is used again, even in a copy of the database that lacks the
// latest epoch. A server that has seen the latest epoch does not take the next for an older life.
func TestEpochsGrowWhenTheClockIsSetBack(t *testing.T) {
	dbtest.Long(t) // TestANewLifeOfTheDatabaseBeginsAnEpoch is fast
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	const ahead = 1 << 40
	exec(t, dbtest.Connect(t, url), `UPDATE epochs SET epoch = $1`, ahead)
	begin := func(d *db.DB) int64 {
		t.Helper()
		newLife(t, dbtest.Connect(t, url))
		got, err := d.Tail(t.Context(), events.Cursor{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		// the next epoch is that of an older copy
		exec(t, dbtest.Connect(t, url), `DELETE FROM epochs WHERE epoch = $1`, got.Epoch)
		return got.Epoch
	}
	first := begin(d)
	seen := first
	for range 5 {
		got := begin(d)
		if got <= seen {
			t.Errorf("got %d after %d, want it to grow", got, seen)
		}
		seen = got
	}
	got, err := openURL(t, url).Head(t.Context())
	if err != nil || got.Epoch <= ahead || got.Epoch == first {
		t.Errorf("a new server: got %d and %v, want more than %d and not %d", got.Epoch, err, ahead, first)
	}
}

// Sixteen servers that notice a new life at the same time agree on one epoch.
func TestConcurrentServersBeginOneEpoch(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	channel, _ := create(t, d, "alice")
	newLife(t, dbtest.Connect(t, url))
	var mu sync.Mutex
	epochs := map[int64]bool{}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			p, err := d.Post(t.Context(), newMessage(channel, "alice", "hi"))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			epochs[p.Cursor.Epoch] = true
		})
	}
	wg.Wait()
	if len(epochs) != 1 {
		t.Errorf("got %d epochs, want 1", len(epochs))
	}
}

// A member hears [joined, left], and a return begins a new interval.
func TestReplayGoesByIntervals(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, created := create(t, d, "alice")
	change := func(do func(db.Tx) (events.Cursor, error)) (at events.Cursor) {
		t.Helper()
		err := d.InTx(t.Context(), func(_ context.Context, tx db.Tx) (err error) {
			at, err = do(tx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	join := func(tx db.Tx) (events.Cursor, error) { return tx.AddMember(t.Context(), channel, "bob") }
	leave := func(tx db.Tx) (events.Cursor, error) { return tx.RemoveMember(t.Context(), channel, "bob") }
	post(t, d, channel, "alice", "too early")
	var want []int64
	for range 2 {
		want = append(want, change(join).Seq, post(t, d, channel, "alice", "while in").Cursor.Seq,
			change(leave).Seq)
		post(t, d, channel, "alice", "while out")
	}
	end := post(t, d, channel, "alice", "the end").Cursor
	page, err := d.Replay(t.Context(), "bob", created.Seq, end.Seq)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(heard(page), want) || page.Reached != end.Seq {
		t.Errorf("got %v up to %d, want %v up to %d", heard(page), page.Reached, want, end.Seq)
	}
	for i, seq := range want { // from any position: the rest
		page, err := d.Replay(t.Context(), "bob", seq, end.Seq)
		if err != nil || !slices.Equal(heard(page), want[i+1:]) {
			t.Errorf("after %d: got %v, %v; want %v", seq, heard(page), err, want[i+1:])
		}
	}
	for i, wantIn := range []bool{true, true, false, true, true, false} {
		got, err := d.Memberships(t.Context(), []string{"bob"}, want[i], events.Place{Left: want[i]}, 200)
		if err != nil || len(got["bob"]) > 0 != wantIn {
			t.Errorf("as of %d: got %v, %v; want membership %v", want[i], got, err, wantIn)
		}
	}
}

// Rule 16: a page that begins below the floor is refused.
func TestReplayBelowTheFloorIsRefused(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	channel, created := create(t, d, "alice", "bob")
	first := post(t, d, channel, "alice", "1").Cursor.Seq
	last := post(t, d, channel, "alice", "2").Cursor.Seq
	exec(t, dbtest.Connect(t, url), `UPDATE log_floor SET seq = $1`, first)
	if _, err := d.Replay(t.Context(), "bob", created.Seq, last); !errors.Is(err, events.ErrExpired) {
		t.Errorf("below the floor: got %v, want %v", err, events.ErrExpired)
	}
	if page, err := d.Replay(t.Context(), "bob", first, last); err != nil || len(page.Events) != 1 {
		t.Errorf("at the floor: got %v, %v; want the rest", heard(page), err)
	}
}

// NOTIFY rings on other servers.
func TestTheDoorbellRingsOnOtherServers(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	here, there := openURL(t, url), openURL(t, url)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, d := range []*db.DB{here, there} {
		wg.Go(func() { d.RunDoorbell(ctx, url, discard()) })
	}
	channel, _ := create(t, here, "alice")
	await(t, there) // listening has begun, or the commit was heard
	drain(there)
	post(t, here, channel, "alice", "hi")
	await(t, there)
}

func await(t *testing.T, d *db.DB) {
	t.Helper()
	select {
	case <-d.Bell():
	case <-time.After(ssetest.Patience):
		t.Fatal("no ring")
	}
}

func drain(d *db.DB) {
	select {
	case <-d.Bell():
	default:
	}
}

func TestAFailedMutationLeavesNothing(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, created := create(t, d, "alice")
	oops := errors.New("oops")
	err := d.InTx(t.Context(), func(_ context.Context, tx db.Tx) error {
		if _, err := tx.AddMember(t.Context(), channel, "bob"); err != nil {
			return err
		}
		return oops
	})
	if !errors.Is(err, oops) {
		t.Errorf("got %v, want %v", err, oops)
	}
	c, err := d.Channel(t.Context(), channel, "bob")
	if err != nil || c.JoinedSeq != nil || c.MemberCount != 1 {
		t.Errorf("got %+v, %v; want no trace of bob", c, err)
	}
	if got := tail(t, d, created.Seq); len(got.Events) != 0 || got.Pending {
		t.Errorf("got %v, pending %v; want nothing", seqs(got.Events), got.Pending)
	}
	if _, err := d.Channel(t.Context(), uuid.New(), "bob"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an unknown channel: got %v, want %v", err, db.ErrNotFound)
	}
}
