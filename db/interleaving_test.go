package db_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// An interleaving runs real transactions step by step, in a random order, and the statements of a reader in
// between. It records broken promises in fault.
type interleaving struct {
	t       *testing.T
	url     string
	rng     *rand.Rand
	channel uuid.UUID
	writers []*steppingWriter

	reader  *pgx.Conn
	horizon int64   // as read; 0: the horizon must be read before the rows
	passed  int64   // the greatest horizon of a complete page
	got     []int64 // numbers that the reader has read
	done    []int64 // committed
	fault   string
}

type steppingWriter struct {
	conn  *pgx.Conn
	drawn []int64 // numbers that its transaction has drawn
	in    bool
}

func newInterleaving(t *testing.T, url string, rng *rand.Rand) *interleaving {
	t.Helper()
	d := openURL(t, url)
	x := &interleaving{t: t, url: url, rng: rng, reader: dbtest.Connect(t, url)}
	x.channel, _ = create(t, d, "alice")
	exec(t, x.reader, `DELETE FROM events`)
	for range 5 {
		x.writers = append(x.writers, &steppingWriter{conn: dbtest.Connect(t, url)})
	}
	return x
}

// step runs the next step of one transaction.
func (x *interleaving) step() {
	x.t.Helper()
	if x.rng.IntN(3) == 0 {
		x.read()
		return
	}
	w := x.writers[x.rng.IntN(len(x.writers))]
	switch {
	case !w.in:
		exec(x.t, w.conn, `BEGIN`)
		w.in = true
	case len(w.drawn) == 0 && x.rng.IntN(3) == 0: // as post_messages does
		const insert = `WITH h AS MATERIALIZED (SELECT hold_log() AS epoch)
			INSERT INTO events (seq, kind, channel_id, user_id)
			SELECT CASE WHEN (SELECT h.epoch FROM h) > 0 THEN nextval('events_seq') END,
				'channel.updated', $1, 'alice'
			FROM generate_series(1, 2)
			RETURNING seq`
		w.drawn = column[int64](x.t, w.conn, insert, x.channel)
	case len(w.drawn) == 0 || x.rng.IntN(3) == 0:
		const insert = `INSERT INTO events (kind, channel_id, user_id) VALUES ('channel.updated', $1, 'alice')
			RETURNING seq`
		w.drawn = append(w.drawn, column[int64](x.t, w.conn, insert, x.channel)...)
	default:
		x.end(w)
	}
}

func (x *interleaving) end(w *steppingWriter) {
	x.t.Helper()
	switch x.rng.IntN(8) {
	case 0:
		exec(x.t, w.conn, `ROLLBACK`)
	case 1: // the connection is lost; the server notices it at some later time
		_ = w.conn.PgConn().Conn().Close()
		w.conn = dbtest.Connect(x.t, x.url)
	default:
		exec(x.t, w.conn, `COMMIT`)
		for _, n := range w.drawn {
			if x.done = append(x.done, n); n <= x.passed {
				x.fault = fmt.Sprintf("%d was committed after a reader had passed %d", n, x.passed)
			}
		}
	}
	w.in, w.drawn = false, nil
}

// read runs the reader's next statement: the horizon, or the rows up to it.
func (x *interleaving) read() {
	x.t.Helper()
	if x.horizon == 0 {
		x.horizon = column[int64](x.t, x.reader, `SELECT horizon FROM log_horizon()`)[0]
		return
	}
	const rows = `SELECT seq FROM events WHERE seq > $1 AND seq <= $2 ORDER BY seq`
	last := int64(0)
	if len(x.got) > 0 {
		last = x.got[len(x.got)-1]
	}
	x.got = append(x.got, column[int64](x.t, x.reader, rows, last, x.horizon)...)
	x.passed, x.horizon = max(x.passed, x.horizon), 0
}

// finish ends all transactions, and reads to the end within a bounded time.
func (x *interleaving) finish() {
	x.t.Helper()
	for _, w := range x.writers {
		if w.in {
			x.end(w)
		}
	}
	slices.Sort(x.done)
	for deadline := time.Now().Add(ssetest.Patience); len(x.done) > 0 && x.passed < x.done[len(x.done)-1]; {
		x.read()
		if time.Now().After(deadline) {
			x.fault = fmt.Sprintf("the reader stays at %d, the log ends at %d", x.passed,
				x.done[len(x.done)-1])
			return
		}
	}
	if !slices.Equal(x.got, x.done) && x.fault == "" {
		x.fault = fmt.Sprintf("the reader got %d events, %d were committed; first difference around %d",
			len(x.got), len(x.done), firstDifference(x.got, x.done))
	}
}

// Rules 1 to 11 in Postgres itself, statement by statement.
func TestInterleavedTransactionsKeepTheHorizon(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	x := newInterleaving(t, dbtest.New(t), rand.New(rand.NewPCG(seed, 1)))
	for end := time.Now().Add(atRandom()); x.fault == "" && time.Now().Before(end); {
		x.step()
	}
	if x.finish(); x.fault != "" {
		t.Errorf("with seed %d: %s", seed, x.fault)
	}
	t.Logf("%d events were committed", len(x.done))
}

// Interleavings find the fault of each function that breaks a rule.
func TestInterleavedTransactionsFindFaults(t *testing.T) {
	dbtest.Long(t) // TestInterleavedTransactionsKeepTheHorizon is fast
	t.Parallel()
	const drawSeq, logHorizon = `
		CREATE OR REPLACE FUNCTION draw_seq() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
		DECLARE
			n bigint;
		BEGIN %s END $$`, `
		CREATE OR REPLACE FUNCTION log_horizon(
			OUT last bigint, OUT horizon bigint, OUT epoch bigint, OUT base bigint, OUT head bigint,
				OUT contradiction text)
		LANGUAGE plpgsql VOLATILE AS $$ BEGIN %s END $$`
	for name, change := range map[string]string{
		"the naive order": fmt.Sprintf(logHorizon, `
			last := pg_sequence_last_value('events_seq'); horizon := last;`),
		"no lock": fmt.Sprintf(drawSeq, `
			RETURN nextval('events_seq');`),
		"the number before the lock": fmt.Sprintf(drawSeq, `
			n := nextval('events_seq');
			PERFORM pg_advisory_xact_lock_shared((log_tag() << 47) | pg_sequence_last_value('events_seq'));
			RETURN n;`),
		"the writer's own number as the key": fmt.Sprintf(drawSeq, `
			PERFORM pg_advisory_xact_lock_shared((log_tag() << 47) | (pg_sequence_last_value('events_seq') +
				1));
			RETURN nextval('events_seq');`),
		"a lock of the statement, not of the transaction": fmt.Sprintf(drawSeq, `
			PERFORM pg_advisory_lock_shared((log_tag() << 47) | pg_sequence_last_value('events_seq'));
			n := nextval('events_seq');
			PERFORM pg_advisory_unlock_shared((log_tag() << 47) | (n - 1));
			RETURN n;`),
		"a group without a lock": `CREATE OR REPLACE FUNCTION hold_log() RETURNS bigint
			LANGUAGE sql AS 'SELECT log_epoch()'`,
		"a sequence with a cache": `ALTER SEQUENCE events_seq CACHE 20`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newInterleaving(t, dbtest.New(t), rand.New(rand.NewPCG(1, 2)))
			exec(t, x.reader, change)
			for range 2000 {
				if x.step(); x.fault != "" {
					t.Log(x.fault)
					return
				}
			}
			if x.finish(); x.fault == "" {
				t.Error("no fault was found")
			}
		})
	}
}
