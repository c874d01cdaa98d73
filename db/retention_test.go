package db_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"fabric-guild/events/ssetest"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const day = 24 * time.Hour

// age moves the times of events into the past. A negative age moves them into the future.
func age(t *testing.T, c *pgx.Conn, by time.Duration, seqs ...int64) {
	t.Helper()
	exec(t, c, `UPDATE events SET occurred_at = clock_timestamp() - $1::interval WHERE seq = ANY ($2)`,
		by, seqs)
}

func retain(t *testing.T, d *db.DB, keep db.Retention) (removed, floor int64) {
	t.Helper()
	removed, floor, err := d.Retain(t.Context(), keep)
	if err != nil {
		t.Fatal(err)
	}
	return removed, floor
}

func column[T any](t *testing.T, c *pgx.Conn, query string, args ...any) []T {
	t.Helper()
	rows, err := c.Query(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// posts stores messages of alice, and returns their numbers.
func posts(t *testing.T, d *db.DB, channel uuid.UUID, n int) []int64 {
	t.Helper()
	var out []int64
	for range n {
		out = append(out, post(t, d, channel, "alice", "hi").Cursor.Seq)
	}
	return out
}

func TestRetentionRemovesOldEventsOnly(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, c := openURL(t, url), dbtest.Connect(t, url)
	channel, created := create(t, d, "alice", "bob")
	said := posts(t, d, channel, 6)
	age(t, c, 40*day, append(said[:3:3], created.Seq)...)

	if removed, floor := retain(t, d, db.Retention{Age: 30 * day}); removed != 4 || floor != said[2] {
		t.Errorf("got %d removed up to %d, want 4 up to %d", removed, floor, said[2])
	}
	if diff := cmp.Diff(said[3:], column[int64](t, c, `SELECT seq FROM events ORDER BY seq`)); diff != "" {
		t.Errorf("the event log (-want +got):\n%s", diff)
	}
	if _, err := d.Replay(t.Context(), "bob", said[1], said[5]); !errors.Is(err, events.ErrExpired) {
		t.Errorf("below the floor: got %v, want %v", err, events.ErrExpired)
	}
	page, err := d.Replay(t.Context(), "bob", said[2], said[5])
	if diff := cmp.Diff(said[3:], heard(page)); diff != "" || err != nil {
		t.Errorf("from the floor: %v (-want +got):\n%s", err, diff)
	}
	history, err := historyOf(t.Context(), d, db.History{Channel: channel, User: "bob", Limit: 10})
	if err != nil || len(history) != len(said) {
		t.Errorf("got a history of %d and %v, want all %d messages", len(history), err, len(said))
	}
	if removed, _ := retain(t, d, db.Retention{Age: 30 * day}); removed != 0 {
		t.Errorf("got %d removed by a second run, want none", removed)
	}
	if got := d.Retained.Events.Load(); got != 4 {
		t.Errorf("got %d counted, want 4", got)
	}
}

func TestRetentionKeepsTheNewest(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, created := create(t, d, "alice")
	said := posts(t, d, channel, 9)
	if removed, floor := retain(t, d, db.Retention{Events: 4}); removed != 6 || floor != said[4] {
		t.Errorf("got %d removed up to %d, want 6 up to %d", removed, floor, said[4])
	}
	if removed, _ := retain(t, d, db.Retention{Age: day, Events: 100}); removed != 0 {
		t.Errorf("got %d removed although there are fewer, want none", removed)
	}
	if got := tail(t, d, said[4]); !slices.Equal(seqs(got.Events), said[5:]) {
		t.Errorf("got %v, want %v", seqs(got.Events), said[5:])
	}
	if got := tail(t, d, created.Seq); len(got.Events) != 0 || got.Floor != said[4] {
		t.Errorf("below the floor: got %v with floor %d, want nothing but %d", seqs(got.Events),
			got.Floor, said[4])
	}
}

// More than one batch, and both bounds at once.
func TestRetentionRemovesSeveralBatches(t *testing.T) {
	dbtest.Long(t) // TestRetentionRemovesOldEventsOnly is fast
	t.Parallel()
	url := dbtest.New(t)
	d, c := openURL(t, url), dbtest.Connect(t, url)
	channel, _ := create(t, d, "alice")
	fill(t, c, channel, 12000)
	exec(t, c, `UPDATE events SET occurred_at = clock_timestamp() - '40 days'::interval`)
	young := posts(t, d, channel, 3)
	// the event of the channel too
	if removed, floor := retain(t, d, db.Retention{Age: 30 * day, Events: 2}); removed != 12002 ||
		floor != young[0] {
		t.Errorf("got %d removed up to %d, want 12002 up to %d", removed, floor, young[0])
	}
}

// The clock of a machine may be wrong for a while, in either direction.
func TestRetentionFollowsTheLogsOrderIfClocksJump(t *testing.T) {
	dbtest.Long(t) // TestRetentionDoesNotTrustTheClock is fast
	t.Parallel()
	for name, tt := range map[string]struct {
		ages []time.Duration
		want int // how many are removed
	}{
		"a young event that seems old": {
			[]time.Duration{40 * day, 40 * day, time.Hour, 90 * day, time.Hour}, 2,
		},
		"old events that seem to come": {
			[]time.Duration{40 * day, -900 * day, -900 * day, 39 * day, time.Hour}, 4,
		},
		"the newest, since the clock was " +
			"set back": {[]time.Duration{40 * day, time.Hour, -time.Hour, -time.Hour, -time.Hour}, 1},
		"the newest, and nothing else is young": {
			[]time.Duration{40 * day, 40 * day, -time.Hour, -time.Hour, -time.Hour}, 2,
		},
		"all of them old": {
			[]time.Duration{40 * day, 40 * day, 40 * day, 40 * day, 40 * day}, 5,
		},
		"all of them young": {[]time.Duration{day, day, day, day, 0}, 0},
		"a clock that was wrong for long in between": {
			[]time.Duration{40 * day, -day, -day, -day, 31 * day},
			5,
		},
		"a clock that was wrong from the " +
			"first event": {[]time.Duration{-day, -day, -day, 31 * day, time.Hour}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := dbtest.New(t)
			d, c := openURL(t, url), dbtest.Connect(t, url)
			channel, created := create(t, d, "alice")
			exec(t, c, `DELETE FROM events WHERE seq = $1`, created.Seq)
			for i, seq := range posts(t, d, channel, len(tt.ages)) {
				age(t, c, tt.ages[i], seq)
			}
			if removed, _ := retain(t, d, db.Retention{Age: 30 * day}); removed != int64(tt.want) {
				t.Errorf("got %d removed, want %d", removed, tt.want)
			}
		})
	}
}

// Rule 16: an undecided number must not commit below the floor.
func TestRetentionStaysBelowTheHorizon(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, c, late := openURL(t, url), dbtest.Connect(t, url), dbtest.Connect(t, url)
	channel, created := create(t, d, "alice", "bob")
	before := posts(t, d, channel, 2)
	exec(t, late, `BEGIN`)
	exec(t, late, `INSERT INTO events (kind, channel_id, user_id) VALUES ('channel.updated', $1, 'alice')`,
		channel)
	after := posts(t, d, channel, 3)
	age(t, c, 40*day, slices.Concat([]int64{created.Seq}, before, after)...)
	if removed, floor := retain(t, d, db.Retention{Age: 30 * day, Events: 1}); removed != 3 ||
		floor != before[1] {
		t.Errorf("got %d removed up to %d, want 3 up to %d, the horizon", removed, floor, before[1])
	}
	exec(t, late, `COMMIT`)
	want := append([]int64{after[0] - 1}, after...)
	if page, err := d.Replay(t.Context(), "bob", before[1], after[2]); err != nil ||
		!slices.Equal(heard(page), want) {
		t.Errorf("got %v, %v; want %v", heard(page), err, want)
	}
}

// Retention runs on one server at a time. The others neither wait nor fail.
func TestRetentionRunsOnOneServerAtATime(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, other := openURL(t, url), dbtest.Connect(t, url)
	channel, _ := create(t, d, "alice")
	posts(t, d, channel, 3)
	exec(t, other, `BEGIN`)
	exec(t, other, `SELECT pg_advisory_xact_lock($1, 0)`, 0x46470004)
	if removed, _ := retain(t, d, db.Retention{Events: 1}); removed != 0 {
		t.Errorf("while another server removes events: got %d removed, want none", removed)
	}
	exec(t, other, `ROLLBACK`)
	if removed, _ := retain(t, d, db.Retention{Events: 1}); removed != 3 {
		t.Errorf("then: got %d removed, want 3", removed)
	}
}

// A run that fails is tried again, and logged once until a run succeeds. The end of the context is no
// failure.
func TestFailedRetentionIsLoggedOnceAndRetried(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.Close() // so that nothing in the bubble waits for Postgres
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			d.RunRetention(ctx, db.Retention{Age: day}, slog.New(slog.NewTextHandler(&log, nil)))
			close(ended)
		}()
		time.Sleep(10*time.Minute + time.Second)
		if got := d.Retained.Failed.Load(); got != 11 {
			t.Errorf("got %d runs in 10 minutes, want 11", got)
		}
		stop()
		<-ended
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=ERROR") ||
			!strings.Contains(got, "is Postgres up") {
			t.Errorf("got %q, want one line that says what to do", got)
		}
	})
}

func TestRetentionStopsBetweenBatches(t *testing.T) {
	dbtest.Long(t) // TestRetentionRemovesOldEventsOnly is fast
	t.Parallel()
	url := dbtest.New(t)
	d, c := openURL(t, url), dbtest.Connect(t, url)
	channel, _ := create(t, d, "alice")
	fill(t, c, channel, 20000)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	first := make(chan struct{})
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for d.Retained.Events.Load() == 0 {
			<-tick.C
		}
		stop()
		close(first)
	}()
	removed, floor, err := d.Retain(ctx, db.Retention{Events: 1})
	<-first
	if err != nil || removed == 0 || removed >= 20000 || floor == 0 {
		t.Errorf("got %d removed up to %d, %v; want a part, without an error", removed, floor, err)
	}
	if removed, _ := retain(t, d, db.Retention{Events: 1}); removed == 0 {
		t.Error("got nothing removed by the next run, want the rest")
	}
}

func TestRetentionIsOffByDefault(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, _ := create(t, d, "alice")
	posts(t, d, channel, 3)
	d.RunRetention(t.Context(), db.Retention{}, discard()) // must return: otherwise the test hangs
	if removed, _ := retain(t, d, db.Retention{}); removed != 0 {
		t.Errorf("got %d removed, want none", removed)
	}
}

// Postgres' clock is 400 days ahead when the server starts, or the event log was quiet for that long. Events
// that are old by the event log's own time are removed. The rest is not removed at once.
func TestRetentionDoesNotTrustTheClock(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, c := openURL(t, url), dbtest.Connect(t, url)
	channel, _ := create(t, d, "alice")
	said := posts(t, d, channel, 3)
	exec(t, c, `UPDATE events SET occurred_at = occurred_at - '400 days'::interval`)
	exec(t, c, `UPDATE events SET occurred_at = occurred_at - '40 days'::interval WHERE seq < $1`, said[0])
	ctx, stop := context.WithCancel(t.Context())
	var log bytes.Buffer
	ended := make(chan struct{})
	go func() {
		d.RunRetention(ctx, db.Retention{Age: 30 * day}, slog.New(slog.NewTextHandler(&log, nil)))
		close(ended)
	}()
	ssetest.Await(func() bool { return d.Retained.Events.Load() > 0 })
	stop()
	<-ended
	if got := column[int64](t, c, `SELECT seq FROM events ORDER BY seq`); !slices.Equal(got, said) {
		t.Errorf("got %v left, want %v", got, said)
	}
	if !strings.Contains(log.String(), "is the clock right?") {
		t.Errorf("got %q, want a warning", log.String())
	}
}
