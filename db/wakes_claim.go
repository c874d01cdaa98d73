package db

import (
	"context"
	"errors"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A WakeClaim asks for work.
type WakeClaim struct {
	User     string
	Guilds   []string    // guilds that the user's token allows; nil: all
	Channels []uuid.UUID // empty: all
	Lease    time.Duration
	Limit    int
	MaxAge   time.Duration // 0: none
	Since    int64         // where the queue begins, if this claim creates it
	At       events.Cursor // this server's position, read before the claim
	Create   bool          // the claim creates a missing queue; otherwise ErrNotFound
	Rung     bool          // a message has just rung, so the claim finds one new row, or none
	Worker   string        // empty: no takeover
	Instance string
	Around   int // how many other messages of the channel to show
}

// A Wake is what a claim hands out.
type Wake struct {
	ID         uuid.UUID
	Reason     events.Reason // the strongest among Messages
	Attempt    int
	LeaseUntil events.Time
	Lease      time.Duration
	More       bool    // more messages are left in this channel
	Messages   []int64 // the numbers of the messages, oldest first
	Expired    bool    // an earlier lease ended without an answer
	Shown      ShownWake
}

// A Claimed is the result of a claim.
type Claimed struct {
	Wake     *Wake
	Again    bool          // the claim stopped early: claim again at once
	Next     time.Duration // when the next pause or lease ends; 0: there is none
	TookOver bool          // this page of the claim ended leases of other instances
	// Dead are rows that are never handed out again. The caller must bury them after the claim.
	Dead []WakePart
}

// A WakePart names a row of the queue.
type WakePart struct {
	User    string
	Channel uuid.UUID
	Part    uuid.UUID
}

// Claim hands out the next wake of a user. The lease lasts by Postgres' clock. Claim takes no channel lock
// and appends nothing. It returns within about a second, with or without a wake. At most one claim of a user
// should call it at a time on one server: others would wait for the same row, each with a connection.
func (d *DB) Claim(ctx context.Context, c WakeClaim) (Claimed, error) {
	end := time.Now().Add(scanTime)
	for page := 1; ; page++ {
		p := &claiming{
			seat: newSeat(), WakeClaim: c, last: page == scanPages || time.Now().After(end),
		}
		err := d.claimPage(ctx, p)
		if errors.Is(err, errEpochMoved) {
			return Claimed{Next: replayRetry}, nil // the tailer will enter the new epoch soon
		}
		if err != nil || p.done {
			return p.Claimed, err
		}
	}
}

// replayRetry is how soon a claim should try again if the tailer has not entered a new epoch yet.
const replayRetry = 500 * time.Millisecond

// inQueue is InTx for a change of the queue alone. It appends nothing, so it does not ring the doorbell.
func (d *DB) inQueue(ctx context.Context, do func(context.Context, Tx) error) error {
	return d.inQueueFrom(ctx, nothing,
		func(ctx context.Context, tx Tx, _ *pgx.Batch) error { return do(ctx, tx) })
}

// inQueueFrom is inQueue with the round trips of inTxFrom.
func (d *DB) inQueueFrom(
	ctx context.Context, first func(*pgx.Batch), do func(context.Context, Tx, *pgx.Batch) error,
) error {
	release, err := d.place(ctx)
	if err != nil {
		return err
	}
	defer release()
	return d.inEpoch(ctx, func() error { return d.inTxFrom(ctx, d.pool, first, do) })
}

// claim does a claim whose queue is locked and has been read, and that must choose: a page of the scan, and a
// choice if the scan is complete or if this is the last page. Statements that do not need each other's
// results share a round trip. end gets the statements that go with the COMMIT; they fill in what the result
// still lacks.
func (tx Tx) claim(ctx context.Context, c *claiming, end *pgx.Batch) (done bool, err error) {
	var b pgx.Batch
	c.begin(&b, tx)
	scanned := c.queue.write(&b, c.At)
	c.Again = !scanned && c.last
	if !c.chooses() {
		add(end, &b)
		if scanned {
			queueWaiting(end, c.WakeClaim, &c.Claimed)
		}
		return scanned, nil
	}
	for range choices {
		var row *wakeRow
		queueChoice(&b, c.WakeClaim, &row)
		if err := tx.conn.SendBatch(ctx, &b).Close(); err != nil {
			return false, err
		}
		b = pgx.Batch{}
		if row == nil {
			queueWaiting(end, c.WakeClaim, &c.Claimed)
			return true, nil
		}
		c.Wake, err = tx.lease(ctx, c.WakeClaim, &c.queue, row, end)
		if err != nil || c.Wake != nil {
			return true, err
		}
	}
	c.Again = true
	return true, nil
}

// begin queues what only some claims need, before all else: a new queue makes its user an agent, and an
// instance may take over.
func (c *claiming) begin(b *pgx.Batch, tx Tx) {
	if c.queue.created {
		queueAgent(b, c.User)
	}
	if c.Instance != "" {
		queueTakeOver(b, c.WakeClaim, &c.TookOver, tx.work)
	}
}

// chooses reports whether a claim whose queue has been read needs the round trip of a choice.
func (c *claiming) chooses() bool {
	q := &c.queue
	if q.scannedSeq < c.At.Seq {
		return c.last
	}
	return q.due || len(q.found) > 0 || c.Instance != ""
}

func add(to, b *pgx.Batch) { to.QueuedQueries = append(to.QueuedQueries, b.QueuedQueries...) }

// queueTakeOver ends the leases of a worker's other instances at the first claim of an instance. So a
// restarted program does not wait for its own leases. Wake ids stay valid: a reply of the old instance counts
// until another worker claims the wake.
func queueTakeOver(b *pgx.Batch, c WakeClaim, took *bool, work *[]WorkChange) {
	const query = `
		WITH seen AS (
			INSERT INTO wake_workers (user_id, worker, instance) VALUES ($1, $2, $3)
			ON CONFLICT ON CONSTRAINT wake_workers_pkey DO UPDATE SET seen_at = clock_timestamp()
			RETURNING xmax = 0 AS first)
		UPDATE wakes SET lease_until = clock_timestamp()
		WHERE (SELECT first FROM seen)
			AND user_id = $1 AND worker = $2 AND instance IS DISTINCT FROM $3
			AND lease_until > clock_timestamp()
			AND channel_id IN (SELECT c.id FROM channels c WHERE $4::text[] IS NULL OR c.guild_id = ANY ($4))
		RETURNING user_id, channel_id, first_seq, claimed_upto`
	b.Queue(query, c.User, c.Worker, c.Instance, c.Guilds).Query(func(rows pgx.Rows) error {
		ended, err := pgx.CollectRows(rows, pgx.RowToStructByPos[WorkChange])
		*work = append(*work, ended...)
		*took = len(ended) > 0
		return err
	})
}

// queueChoice locks the row to hand out; nil: there is none. All conditions are in one statement: if another
// transaction changes the row meanwhile, Postgres checks them again once the row is locked. It checks only
// columns of this row again: a sub-select still sees the old lease. The order is:
// direct messages; rows that have been due for a minute, oldest first; priority, a retried part first; age.
func queueChoice(b *pgx.Batch, c WakeClaim, row **wakeRow) {
	const query = selectWake + `
		CROSS JOIN LATERAL (SELECT greatest(w.first_at, w.not_before, w.lease_until) AS at) due
		WHERE w.user_id = $1
			AND ($2::text[] IS NULL OR c.guild_id = ANY ($2))
			AND (cardinality($3::uuid[]) = 0 OR w.channel_id = ANY ($3))
			AND NOT EXISTS (SELECT FROM wakes o
				WHERE o.user_id = $1 AND o.channel_id = w.channel_id AND o.lease_until > clock_timestamp())
			AND (w.lease_until IS NULL OR w.lease_until <= clock_timestamp())
			AND (w.not_before IS NULL OR w.not_before <= clock_timestamp())
			AND NOT ` + exhausted + `
		ORDER BY w.priority = $4 DESC, due.at < clock_timestamp() - $5::interval DESC,
			CASE WHEN due.at < clock_timestamp() - $5::interval THEN due.at END,
			w.priority DESC, w.part <> '00000000-0000-0000-0000-000000000000' DESC, w.first_seq
		LIMIT 1 FOR UPDATE OF w`
	b.Queue(query, c.User, c.Guilds, orEmpty(c.Channels), priorityDirect,
		dueSoon).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[wakeRow])
		if len(found) > 0 {
			*row = found[0]
		}
		return err
	})
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// queueWaiting finds rows that are never handed out again, and the time until the next pause or lease ends.
func queueWaiting(b *pgx.Batch, c WakeClaim, a *Claimed) {
	const buried = `SELECT w.user_id, w.channel_id, w.part FROM wakes w WHERE w.user_id = $1 AND ` +
		toBury + ` LIMIT 10`
	const soonest = `SELECT ` + nextDue
	b.Queue(buried, c.User).Query(func(rows pgx.Rows) (err error) {
		a.Dead, err = pgx.CollectRows(rows, pgx.RowToStructByPos[WakePart])
		return err
	})
	b.Queue(soonest, c.User).QueryRow(func(row pgx.Row) error {
		var seconds *float64
		err := row.Scan(&seconds)
		if seconds != nil {
			a.Next = max(time.Millisecond, time.Duration(*seconds*float64(time.Second)))
		}
		return err
	})
}
