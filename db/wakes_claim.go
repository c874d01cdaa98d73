package db

import (
	"cmp"
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
	Worker   string        // empty: no takeover
	Instance string
}

// A Wake is what a claim hands out.
type Wake struct {
	ID         uuid.UUID
	Channel    events.Channel
	Reason     events.Reason // the strongest among Messages
	Attempt    int
	LeaseUntil events.Time
	Lease      time.Duration
	More       bool    // more messages are left in this channel
	Messages   []int64 // the numbers of the messages, oldest first
	Expired    bool    // an earlier lease ended without an answer
	Scanned    int64   // the position up to which the queue was scanned
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
	var since *int64
	if c.Create {
		since = &c.Since
	}
	end := time.Now().Add(scanTime)
	for page := 1; ; page++ {
		last := page == scanPages || time.Now().After(end)
		var a Claimed
		var done bool
		queue := consumer{user: c.User, claims: true}
		first := func(b *pgx.Batch) { queue.lock(b, c.At, since, waitLocked) }
		err := d.inQueueFrom(ctx, first, func(ctx context.Context, tx Tx, end *pgx.Batch) (err error) {
			a, done, err = tx.claim(ctx, c, &queue, last, end)
			return err
		})
		if errors.Is(err, errEpochMoved) {
			return Claimed{Next: replayRetry}, nil // the tailer will enter the new epoch soon
		}
		if err == nil && a.TookOver {
			d.RingWakes(c.User)
		}
		if err != nil || done {
			return a, err
		}
	}
}

// replayRetry is how soon a claim should try again if the tailer has not entered a new epoch yet.
const replayRetry = 500 * time.Millisecond

// inQueue is InTx for a change of the queue alone. It appends nothing, so it does not ring the doorbell.
func (d *DB) inQueue(ctx context.Context, do func(context.Context, Tx) error) error {
	return d.inQueueFrom(ctx, nothing, func(ctx context.Context, tx Tx, _ *pgx.Batch) error { return do(ctx, tx) })
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

// claim runs one transaction of Claim under the lock of the queue: a page of the scan, and a choice if the scan is
// complete or if this is the last page. Statements that do not need each other's results share a round trip. end
// gets the statements that go with the COMMIT.
func (tx Tx) claim(
	ctx context.Context, c WakeClaim, queue *consumer, last bool, end *pgx.Batch,
) (a Claimed, done bool, err error) {
	var b pgx.Batch
	if queue.created { // a crash must not undo the creation: the queue would begin later and skip messages
		queueAgent(&b, c.User)
	} else {
		b.Queue(unsynced)
	}
	if c.Instance != "" {
		queueTakeOver(&b, c, &a.TookOver, tx.work)
	}
	scanned, err := tx.scanPage(ctx, queue, c.At, &b)
	if err != nil {
		return a, false, err
	}
	if !scanned && !last {
		return a, false, tx.conn.SendBatch(ctx, &b).Close()
	}
	a.Again = !scanned
	for range choices {
		var row *wakeRow
		queueChoice(&b, c, &row)
		if err := tx.conn.SendBatch(ctx, &b).Close(); err != nil {
			return a, false, err
		}
		b = pgx.Batch{}
		if row == nil {
			a.Dead, a.Next, err = tx.waiting(ctx, c)
			return a, true, err
		}
		a.Wake, err = tx.lease(ctx, c, queue, row, end)
		if a.Wake != nil {
			a.Wake.Scanned = queue.scannedSeq
		}
		if err != nil || a.Wake != nil {
			return a, true, err
		}
	}
	a.Again = true
	return a, true, nil
}

// queueTakeOver ends the leases of a worker's other instances at the first claim of an instance. So a restarted
// program does not wait for its own leases. Wake ids stay valid: a reply of the old instance counts until
// another worker claims the wake.
func queueTakeOver(b *pgx.Batch, c WakeClaim, took *bool, work *[]WorkChange) {
	const query = `
		WITH seen AS (
			INSERT INTO wake_workers (user_id, worker, instance) VALUES ($1, $2, $3)
			ON CONFLICT ON CONSTRAINT wake_workers_pkey DO UPDATE SET seen_at = clock_timestamp()
			RETURNING xmax = 0 AS first)
		UPDATE wakes SET lease_until = clock_timestamp()
		WHERE (SELECT first FROM seen)
			AND user_id = $1 AND worker = $2 AND instance IS DISTINCT FROM $3 AND lease_until > clock_timestamp()
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
// transaction changes the row meanwhile, Postgres checks them again once the row is locked. The order is: direct
// messages; rows that have been due for a minute, oldest first; priority, a retried part first; age.
func queueChoice(b *pgx.Batch, c WakeClaim, row **wakeRow) {
	const query = selectWake + `
		CROSS JOIN LATERAL (SELECT greatest(w.first_at, w.not_before, w.lease_until) AS at) due
		WHERE w.user_id = $1
			AND ($2::text[] IS NULL OR c.guild_id = ANY ($2)) AND (cardinality($3::uuid[]) = 0 OR w.channel_id = ANY ($3))
			AND NOT EXISTS (SELECT FROM wakes o
				WHERE o.user_id = $1 AND o.channel_id = w.channel_id AND o.lease_until > clock_timestamp())
			AND (w.not_before IS NULL OR w.not_before <= clock_timestamp())
			AND NOT ` + exhausted + `
		ORDER BY w.priority = $4 DESC, due.at < clock_timestamp() - $5::interval DESC,
			CASE WHEN due.at < clock_timestamp() - $5::interval THEN due.at END,
			w.priority DESC, w.part <> '00000000-0000-0000-0000-000000000000' DESC, w.first_seq
		LIMIT 1 FOR UPDATE OF w`
	b.Queue(query, c.User, c.Guilds, orEmpty(c.Channels), priorityDirect, dueSoon).Query(func(rows pgx.Rows) error {
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

// waiting returns rows that are never handed out again, and the time until the next pause or lease ends.
// Postgres computes the duration, so clocks do not matter.
func (tx Tx) waiting(ctx context.Context, c WakeClaim) (dead []WakePart, next time.Duration, err error) {
	const buried = `SELECT w.user_id, w.channel_id, w.part FROM wakes w WHERE w.user_id = $1 AND ` + toBury + ` LIMIT 10`
	const soonest = `
		SELECT extract(epoch FROM min(greatest(not_before, lease_until)) - clock_timestamp())::float8
		FROM wakes WHERE user_id = $1 AND greatest(not_before, lease_until) > clock_timestamp()`
	var seconds *float64
	var b pgx.Batch
	b.Queue(buried, c.User).Query(func(rows pgx.Rows) (err error) {
		dead, err = pgx.CollectRows(rows, pgx.RowToStructByPos[WakePart])
		return err
	})
	b.Queue(soonest, c.User).QueryRow(func(row pgx.Row) error { return row.Scan(&seconds) })
	if err := tx.conn.SendBatch(ctx, &b).Close(); err != nil {
		return nil, 0, err
	}
	if seconds != nil {
		next = max(time.Millisecond, time.Duration(*seconds*float64(time.Second)))
	}
	return dead, next, nil
}

// lease hands a row out. It returns nil if nothing in the row is owed any more; then it has deleted the row. The
// statement that writes the lease is queued in end, which fills in the rest of the wake.
func (tx Tx) lease(
	ctx context.Context, c WakeClaim, queue *consumer, row *wakeRow, end *pgx.Batch,
) (*Wake, error) {
	var found []*wakeFact
	var rest *wakeFact // the first that is not handed out
	var bytes int
	var strongest, restPriority int16
	expired := int64(0) // the number of the last message that is too old
	oldest := time.Time{}
	if c.MaxAge > 0 {
		now, err := tx.now(ctx)
		if err != nil {
			return nil, err
		}
		oldest = now.Add(-c.MaxAge)
	}
	var width int
	take := func(f *wakeFact, priority int16) bool {
		if len(found) == 0 {
			if f.CreatedAt.Before(oldest) && priority < priorityOnDuty {
				expired = f.Seq
				return true
			}
			width = row.widthFor(f.Seq)
		}
		full := len(found) == min(c.Limit, width) || len(found) > 0 && bytes+f.Bytes > wakeBytes
		if rest != nil || full {
			rest = cmp.Or(rest, f)
			restPriority = max(restPriority, priority)
			return true
		}
		found = append(found, f)
		bytes += f.Bytes
		strongest = max(strongest, priority)
		return true
	}
	if err := queue.owed(ctx, tx, row, take); err != nil {
		return nil, err
	}
	if expired > 0 {
		if err := tx.dead(ctx, row, row.FirstSeq, expired, "expired", "", ""); err != nil {
			return nil, err
		}
		tx.working(row, row.FirstSeq, expired)
	}
	if len(found) == 0 {
		return nil, tx.deleteWake(ctx, row)
	}
	if found[0].Seq > row.FirstSeq { // the oldest message has changed
		row.FirstSeq = found[0].Seq
		row.Attempts = 0
		row.Width = fullWidth
	}
	w := &Wake{
		ID: uuid.Must(uuid.NewV7()), Reason: reasonOf(strongest), Attempt: row.Attempts + 1, Lease: c.Lease,
		More: rest != nil, Expired: row.ID != nil,
	}
	for _, f := range found {
		w.Messages = append(w.Messages, f.Seq)
	}
	const update = `
		UPDATE wakes w SET id = $4, claimed_at = clock_timestamp(), lease_until = clock_timestamp() + $5::interval,
			first_seq = $6, first_at = $7, attempts = $8::integer + 1, width = $9, claimed_upto = $10,
			priority = greatest($11::smallint, $12::smallint), rest_priority = $12::smallint,
			first_attempt_at = CASE WHEN $8::integer = 0 THEN clock_timestamp() ELSE first_attempt_at END,
			error = CASE WHEN $8::integer = 0 THEN NULL ELSE error END,
			last_seq = CASE WHEN $15::timestamptz IS NULL THEN $10 ELSE last_seq END, rest_at = $15,
			not_before = NULL, worker = $13, instance = $14, status = NULL
		FROM channels c
		WHERE w.user_id = $1 AND w.channel_id = $2 AND w.part = $3 AND c.id = w.channel_id
		RETURNING w.lease_until, c.id, c.guild_id, c.name, c.x_type, c.private, c.history, c.created_by, c.created_at`
	var restAt *time.Time
	if rest != nil {
		restAt = &rest.CreatedAt.Time
	}
	ch := &w.Channel
	end.Queue(update, row.UserID, row.ChannelID, row.Part, w.ID, c.Lease,
		row.FirstSeq, found[0].CreatedAt.Time, row.Attempts, width, found[len(found)-1].Seq,
		strongest, restPriority, optional(c.Worker), optional(c.Instance), restAt).
		QueryRow(func(row pgx.Row) error {
			return row.Scan(&w.LeaseUntil, &ch.ID, &ch.GuildID, &ch.Name, &ch.XType, &ch.Private, &ch.History,
				&ch.CreatedBy, &ch.CreatedAt)
		})
	// What an earlier attempt was given, and this one is not, is pending again.
	tx.working(row, row.FirstSeq, max(found[len(found)-1].Seq, value(row.ClaimedUpto)))
	return w, nil
}

// widthFor returns how many messages the next attempt hands out, if first is its oldest message. From the
// third attempt on it is one: a message that makes workers fail must not take its neighbours along.
func (r *wakeRow) widthFor(first int64) int {
	switch {
	case first > r.FirstSeq:
		return fullWidth
	case r.Attempts == 0:
		return r.Width
	case r.Attempts >= 2, r.Width < fullWidth:
		return 1
	}
	return r.Width
}

func (tx Tx) now(ctx context.Context) (at time.Time, err error) {
	err = tx.conn.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&at)
	return at, err
}

func (tx Tx) deleteWake(ctx context.Context, row *wakeRow) error {
	const query = `DELETE FROM wakes WHERE user_id = $1 AND channel_id = $2 AND part = $3`
	_, err := tx.conn.Exec(ctx, query, row.UserID, row.ChannelID, row.Part)
	return err
}

// dead stores a part of a row's range as a dead wake.
func (tx Tx) dead(
	ctx context.Context, row *wakeRow, first, last int64, outcome, note, errorText string,
) error {
	const insert = `
		INSERT INTO wakes_dead (id, user_id, channel_id, first_seq, last_seq, attempts, outcome, note, error)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	_, err := tx.conn.Exec(ctx, insert, uuid.Must(uuid.NewV7()), row.UserID, row.ChannelID, first, last, row.Attempts,
		outcome, optional(note), optional(errorText))
	return err
}
