package db

import (
	"context"
	"errors"
	"math"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A WakeRef names a wake as a request does.
type WakeRef struct {
	User   string
	Guilds []string // guilds that the user's token allows; nil: all. A wake in another guild does not exist
	ID     uuid.UUID
}

// fence locks the row of a wake that the caller still has. The caller must decide in a later statement, which
// sees what others committed before the lock was free. fence does not check the clock: as long as no other
// worker has claimed the wake since, a late worker is still the only one. ErrWakeLost.
func (tx Tx) fence(ctx context.Context, ref WakeRef, channel *uuid.UUID) (*wakeRow, error) {
	const query = selectWake + `
		WHERE w.user_id = $1 AND w.id = $2 AND ($3::uuid IS NULL OR w.channel_id = $3)
			AND ($4::text[] IS NULL OR c.guild_id = ANY ($4))
		FOR UPDATE OF w`
	rows, err := tx.conn.Query(ctx, query, ref.User, ref.ID, channel, ref.Guilds)
	if err != nil {
		return nil, err
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[wakeRow])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrWakeLost
	}
	return row, err
}

// finish removes the last hand-out from a locked row: the user has dealt with all messages up to
// claimed_upto. left says that the row has more, which is due now. post_messages ends a wake by the same
// function.
func (tx Tx) finish(ctx context.Context, row *wakeRow) (left bool, err error) {
	const query = `SELECT finish_wake($1, $2, $3)`
	err = tx.conn.QueryRow(ctx, query, row.UserID, row.ChannelID, row.Part).Scan(&left)
	tx.working(row, row.FirstSeq, *row.ClaimedUpto)
	return left, err
}

// An Ack ends a wake without a message.
type Ack struct {
	Declined bool
	Note     string
}

// AckWake ends a wake. A wake that a member asked to stop ends as stopped. If the channel has more work for
// the user, that is due now, and rings. ErrWakeLost.
func (d *DB) AckWake(ctx context.Context, ref WakeRef, ack Ack) error {
	left := false
	err := d.inQueue(ctx, func(ctx context.Context, tx Tx) error {
		row, err := tx.fence(ctx, ref, nil)
		if err != nil {
			return err
		}
		outcome := ""
		switch {
		case row.StoppedBy != nil:
			outcome = "stopped"
		case ack.Declined:
			outcome = "declined"
		}
		if outcome != "" {
			if err := tx.dead(ctx, row, row.FirstSeq, *row.ClaimedUpto, outcome, ack.Note, ""); err != nil {
				return err
			}
		}
		left, err = tx.finish(ctx, row)
		return err
	})
	if left {
		d.RingWakes(ref.User)
	}
	return err
}

// A Nack gives a wake back.
type Nack struct {
	Error string
	Delay *time.Duration // nil: the attempt counts, and the queue chooses the pause
}

// A Nacked is the result of a nack.
type Nacked struct {
	Part    WakePart
	Stopped bool // a member asked to stop: the wake is not handed out again
	Bury    bool // it was the last attempt: the caller must bury the wake
}

// pauses are the pauses before the attempts after the first, in seconds.
var pauses = [...]float64{10, 30, 120, 600}

// NackWake gives a wake back. spread, from 0.8 to 1.2, spreads the pauses of wakes that failed together.
// ErrWakeLost.
func (d *DB) NackWake(ctx context.Context, ref WakeRef, nack Nack, spread float64) (a Nacked, err error) {
	const release = `
		UPDATE wakes SET id = NULL, lease_until = NULL, worker = NULL, instance = NULL, status = NULL,
			error = coalesce($4, error), attempts = $5,
			first_attempt_at = CASE WHEN $5 = 0 THEN NULL ELSE first_attempt_at END,
			not_before = clock_timestamp() + make_interval(secs => $6)
		WHERE user_id = $1 AND channel_id = $2 AND part = $3`
	err = d.inQueue(ctx, func(ctx context.Context, tx Tx) error {
		row, err := tx.fence(ctx, ref, nil)
		if err != nil {
			return err
		}
		a = Nacked{Part: WakePart{row.UserID, row.ChannelID, row.Part}, Stopped: row.StoppedBy != nil}
		if a.Stopped {
			if err := tx.dead(ctx, row, row.FirstSeq, *row.ClaimedUpto, "stopped", "",
				nack.Error); err != nil {
				return err
			}
			_, err = tx.finish(ctx, row)
			return err
		}
		attempts := row.Attempts
		var pause float64
		if nack.Delay != nil {
			attempts = max(0, attempts-1)
			pause = nack.Delay.Seconds()
		} else {
			pause = spread * pauses[min(max(attempts, 1), len(pauses))-1]
		}
		a.Bury = attempts >= maxAttempts
		_, err = tx.conn.Exec(ctx, release,
			row.UserID, row.ChannelID, row.Part, optional(nack.Error), attempts, pause)
		tx.working(row, row.FirstSeq, *row.ClaimedUpto)
		return err
	})
	if err == nil {
		// for what is left, and for the pause, which ends at another time than the lease
		d.RingWakes(ref.User)
	}
	return a, err
}

// UnclaimWake gives back a wake whose answer did not reach its client. The attempt does not count, and there
// is no pause.
func (d *DB) UnclaimWake(ctx context.Context, ref WakeRef) error {
	var none time.Duration
	_, err := d.NackWake(ctx, ref, Nack{Delay: &none}, 1)
	return err
}

// An Extended is the state of a wake after its lease was extended.
type Extended struct {
	ChannelID  uuid.UUID
	LeaseUntil events.Time
	Lease      time.Duration // from now on
	Newer      int           // waking messages of the channel since the claim, 100 at most
	Gone       []uuid.UUID   // claimed messages that were deleted
	Stop       bool
}

// ExtendWake extends a lease to a duration from now. It extends an expired lease too, if no other worker has
// claimed the wake or another part of the channel since. If status is nil, the status stays; if it is empty,
// the status goes. ErrWakeLost, ErrLeaseLimit.
func (d *DB) ExtendWake(
	ctx context.Context, ref WakeRef, lease time.Duration, status *string,
) (a Extended, err error) {
	first := func(b *pgx.Batch) {
		b.Queue(unsynced) // a crash may undo an extension, as it may undo a claim
		b.Queue(lockQueue, ref.User)
	}
	err = d.inQueueFrom(ctx, first, func(ctx context.Context, tx Tx, _ *pgx.Batch) error {
		row, err := tx.fence(ctx, ref, nil)
		if err != nil {
			return err
		}
		if err := tx.checkExtension(ctx, row); err != nil {
			return err
		}
		a, err = tx.extend(ctx, row, lease, status)
		return err
	})
	return a, err
}

// lockQueue keeps claims of the user $1 away until the transaction ends. It must come before the channel's
// lock and the fence.
const lockQueue = `SELECT FROM wake_consumers WHERE user_id = $1 FOR UPDATE`

// checkExtension returns ErrWakeLost if the lease of a locked row has ended, and another part of its channel
// is leased: two workers of a user never have the same channel. The transaction must have run lockQueue.
func (tx Tx) checkExtension(ctx context.Context, row *wakeRow) error {
	const query = `
		SELECT EXISTS (SELECT FROM wakes WHERE user_id = $1 AND channel_id = $2 AND part <> $3
			AND lease_until > clock_timestamp())`
	if !row.Ended {
		return nil
	}
	var leased bool
	err := tx.conn.QueryRow(ctx, query, row.UserID, row.ChannelID, row.Part).Scan(&leased)
	if leased {
		return ErrWakeLost
	}
	return err
}

func (tx Tx) extend(
	ctx context.Context, row *wakeRow, lease time.Duration, status *string,
) (Extended, error) {
	const update = `
		UPDATE wakes SET lease_until = least(clock_timestamp() + $3::interval, claimed_at + $4::interval),
			status = nullif(coalesce($5, status), '')
		WHERE user_id = $1 AND id = $2 AND claimed_at + $4::interval > clock_timestamp()
		RETURNING lease_until, extract(epoch FROM lease_until - clock_timestamp())::float8`
	a := Extended{ChannelID: row.ChannelID, Stop: row.StoppedBy != nil}
	var seconds float64
	err := tx.conn.QueryRow(ctx, update, row.UserID, *row.ID, lease, leaseLimit, status).
		Scan(&a.LeaseUntil, &seconds)
	if errors.Is(err, pgx.ErrNoRows) {
		return a, ErrLeaseLimit
	}
	if err != nil {
		return a, err
	}
	a.Lease = time.Duration(seconds * float64(time.Second))
	if status != nil || row.Ended {
		tx.working(row, row.FirstSeq, *row.ClaimedUpto)
	}
	return a, tx.sinceClaim(ctx, row.UserID, row.FirstSeq, *row.ClaimedUpto, *row.ClaimedAt, &a)
}

// sinceClaim adds to a what has happened to a wake and its channel since the claim.
func (q Queries) sinceClaim(
	ctx context.Context, user string, first, upto int64, claimedAt time.Time, a *Extended,
) error {
	const gone = selectFacts + `, m.deleted_at IS NOT NULL AS deleted
		FROM messages m JOIN channels c ON c.id = m.channel_id
		WHERE m.channel_id = $2 AND m.seq BETWEEN $3 AND $4 AND (m.deleted_at IS NULL OR m.deleted_at >= $5)
		ORDER BY m.seq`
	const left = `
		SELECT NOT EXISTS (SELECT FROM channels c JOIN members i ON i.channel_id = c.id AND i.user_id = $1
			AND i.left_seq IS NULL
			WHERE c.id = $2 AND c.archived_seq IS NULL AND i.joined_seq <= $3)`
	var stop bool
	if err := q.conn.QueryRow(ctx, left, user, a.ChannelID, first).Scan(&stop); err != nil {
		return err
	}
	a.Stop = a.Stop || stop
	rows, err := q.conn.Query(ctx, gone, user, a.ChannelID, first, upto, claimedAt)
	if err != nil {
		return err
	}
	type fact struct {
		wakeFact
		Deleted bool
	}
	facts, err := pgx.CollectRows(rows, pgx.RowToStructByName[fact])
	if err != nil {
		return err
	}
	for _, f := range facts {
		if f.Deleted && f.wakes(user) > 0 {
			a.Gone = append(a.Gone, f.ID)
		}
	}
	looked := 0
	return q.owed(ctx, user, a.ChannelID, upto+1, math.MaxInt64, func(f *wakeFact, _ int16) bool {
		if !f.CreatedAt.Before(claimedAt) { // otherwise the claim has left it for later
			a.Newer++
		}
		looked++
		return a.Newer < fullWidth && looked < newerLooked
	})
}

// StopWake asks the worker of a user in a channel to stop. ErrNothingToStop: there is no live lease.
func (tx Tx) StopWake(ctx context.Context, channel uuid.UUID, user, by string) error {
	const query = `
		UPDATE wakes SET stopped_by = coalesce(stopped_by, $3)
		WHERE user_id = $1 AND channel_id = $2 AND lease_until > clock_timestamp()`
	tag, err := tx.conn.Exec(ctx, query, user, channel, by)
	if err == nil && tag.RowsAffected() == 0 {
		return ErrNothingToStop
	}
	return err
}
