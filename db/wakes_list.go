package db

import (
	"context"
	"math"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A QueuedWake is a row of a user's own list of wakes.
type QueuedWake struct {
	ID         *uuid.UUID // claimed: the wake's id; dead: its own id; pending: nil
	ChannelID  uuid.UUID
	Priority   int16
	Attempts   int
	At         events.Time // pending: the oldest message; claimed: the claim; dead: when it died
	LeaseUntil *events.Time
	NotBefore  *events.Time
	Worker     *string
	Status     *string
	Outcome    *string
	Note       *string
	Error      *string
	FirstSeq   int64
	LastSeq    int64
}

// Reason returns the strongest reason in the range.
func (w QueuedWake) Reason() events.Reason { return reasonOf(w.Priority) }

// A WakeList is a page of a user's queue.
type WakeList struct{ Pending, Claimed, Dead []QueuedWake }

// ListWakes returns a page of a user's queue, ordered by channel and first number. It lists only channels in
// the token's guilds in which the user is a member now. This applies to dead wakes too. A row of which only
// deleted messages are left, or messages from before the user left and came back, is not pending: the next
// claim removes it.
func (q Queries) ListWakes(
	ctx context.Context, user string, guilds []string, after uuid.UUID, afterSeq int64, limit int,
) (l WakeList, err error) {
	const mine = `
		CROSS JOIN LATERAL (SELECT c.guild_id FROM channels c
			WHERE c.id = w.channel_id AND c.archived_seq IS NULL
				AND ($2::text[] IS NULL OR c.guild_id = ANY ($2)) LIMIT 1) c
		CROSS JOIN LATERAL (SELECT i.joined_seq FROM members i
			WHERE i.channel_id = w.channel_id AND i.user_id = $1 AND i.left_seq IS NULL LIMIT 1) i
		WHERE w.user_id = $1 AND (w.channel_id, w.first_seq) > ($3, $4)`
	const rows = `
		SELECT w.id, w.channel_id, w.priority, w.attempts, CASE WHEN live THEN w.claimed_at
			ELSE w.first_at END AS at,
			CASE WHEN live THEN w.lease_until END AS lease_until,
			CASE WHEN NOT live AND w.not_before > clock_timestamp() THEN w.not_before END AS not_before,
			w.worker, w.status, NULL::text AS outcome, NULL::text AS note, w.error, w.first_seq,
			CASE WHEN live THEN w.claimed_upto ELSE w.last_seq END AS last_seq
		FROM wakes w
		CROSS JOIN LATERAL (SELECT coalesce(w.lease_until > clock_timestamp(), false) AS live) l` + mine + `
			AND (live OR EXISTS (SELECT FROM messages m WHERE m.channel_id = w.channel_id
				AND m.seq BETWEEN greatest(w.first_seq, i.joined_seq) AND w.last_seq
					AND m.deleted_at IS NULL))
		ORDER BY w.channel_id, w.first_seq LIMIT $5`
	const deadRows = `
		SELECT w.id, w.channel_id, 0::smallint AS priority, w.attempts, w.at,
			NULL::timestamptz AS lease_until,
			NULL::timestamptz AS not_before, NULL::text AS worker, NULL::text AS status, w.outcome, w.note,
				w.error,
			w.first_seq, w.last_seq
		FROM wakes_dead w` + mine + ` AND NOT w.hidden
		ORDER BY w.channel_id, w.first_seq LIMIT $5`
	collect := func(out *[]QueuedWake) func(pgx.Rows) error {
		return func(rows pgx.Rows) (err error) {
			*out, err = pgx.CollectRows(rows, pgx.RowToStructByName[QueuedWake])
			return err
		}
	}
	var all []QueuedWake
	var b pgx.Batch
	b.Queue(rows, user, guilds, after, afterSeq, limit).Query(collect(&all))
	b.Queue(deadRows, user, guilds, after, afterSeq, limit).Query(collect(&l.Dead))
	if err := q.conn.SendBatch(ctx, &b).Close(); err != nil {
		return l, sentinel(err)
	}
	for _, w := range all {
		if w.LeaseUntil != nil {
			l.Claimed = append(l.Claimed, w)
		} else {
			w.ID = nil // nobody may use an expired id
			l.Pending = append(l.Pending, w)
		}
	}
	return l, nil
}

// hasDue says whether the user $1 has a row that is neither leased nor paused.
const hasDue = `EXISTS (SELECT FROM wakes WHERE user_id = $1
			AND (lease_until IS NULL OR lease_until <= clock_timestamp())
			AND (not_before IS NULL OR not_before <= clock_timestamp()))`

// nextDue says in how many seconds to look again for the user $1: when the next pause or lease ends; NULL:
// there is none. Postgres computes the duration, so clocks do not matter. It counts what has ended since the
// transaction began, because the caller may have looked before that.
//
// If one part of a channel waits for the end of another one, it says a second: that end may leave nothing of
// its own part, and then nobody rings.
const nextDue = `least((
			SELECT extract(epoch FROM min(greatest(not_before, lease_until)) - clock_timestamp())::float8
			FROM wakes WHERE user_id = $1 AND greatest(not_before, lease_until) > now()),
			CASE WHEN EXISTS (SELECT FROM wakes p JOIN wakes o USING (user_id, channel_id)
				WHERE p.user_id = $1 AND p.part <> '00000000-0000-0000-0000-000000000000'
					AND o.part <> p.part AND greatest(o.lease_until, p.lease_until) > now()) THEN 1 END)`

// Due reports, without a lock, whether a claim could find work: the queue is behind the position, or has a
// row that is neither leased nor paused. next is when to look again, because a pause or a lease ends; 0: none
// does. ErrNotFound: there is no queue.
func (q Queries) Due(
	ctx context.Context, user string, at events.Cursor,
) (due bool, next time.Duration, err error) {
	const query = `
		SELECT c.scanned_seq < $2 OR ` + hasDue + `, ` + nextDue + `
		FROM wake_consumers c WHERE c.user_id = $1`
	var seconds *float64
	if err := q.conn.QueryRow(ctx, query, user, at.Seq).Scan(&due, &seconds); err != nil {
		return false, 0, sentinel(err)
	}
	if seconds != nil {
		next = max(time.Millisecond, time.Duration(*seconds*float64(time.Second)))
	}
	return due, next, nil
}

// A WakeState is the state of a message for a user whom it woke. An empty State means that there is none.
type WakeState struct {
	State  string
	Since  *events.Time
	Status *string
	Note   *string
}

// WakeStates returns the states of messages of a channel for users, in their order: the n-th state is that of
// the message with the n-th number for the n-th user. It is one statement, so all states are from one
// snapshot.
func (q Queries) WakeStates(
	ctx context.Context, channel uuid.UUID, seqs []int64, users []string,
) ([]WakeState, error) {
	const query = `
		SELECT CASE
				WHEN k.user_id IS NULL OR u.seq <= k.since_seq THEN 'unmanaged'
				WHEN i.user_id IS NULL OR c.archived_seq IS NOT NULL OR m.deleted_at IS NOT NULL THEN ''
				WHEN u.seq > k.scanned_seq THEN 'pending'
				WHEN w.user_id IS NOT NULL AND u.seq <= w.claimed_upto
					AND w.lease_until > clock_timestamp() THEN 'claimed'
				WHEN w.user_id IS NOT NULL THEN 'pending'
				WHEN d.id IS NOT NULL THEN d.outcome
				ELSE 'done' END AS state,
			CASE WHEN w.lease_until > clock_timestamp()
			AND u.seq <= w.claimed_upto THEN w.claimed_at END AS since,
			CASE WHEN w.lease_until > clock_timestamp()
				AND u.seq <= w.claimed_upto THEN w.status END AS status,
			CASE WHEN w.user_id IS NULL THEN d.note END AS note
		FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS u (seq, id, n)
		CROSS JOIN LATERAL (SELECT c.archived_seq FROM channels c WHERE c.id = $1 LIMIT 1) c
		CROSS JOIN LATERAL (SELECT m.deleted_at FROM messages m WHERE m.channel_id = $1 AND m.seq = u.seq
			LIMIT 1) m
		LEFT JOIN wake_consumers k ON k.user_id = u.id
		LEFT JOIN LATERAL (SELECT i.user_id FROM members i
			WHERE i.channel_id = $1 AND i.user_id = u.id AND i.left_seq IS NULL AND i.joined_seq <= u.seq
			LIMIT 1) i ON true
		LEFT JOIN LATERAL (SELECT w.* FROM wakes w
			WHERE w.user_id = u.id AND w.channel_id = $1 AND u.seq BETWEEN w.first_seq AND w.last_seq
			ORDER BY w.lease_until DESC NULLS LAST LIMIT 1) w ON true
		LEFT JOIN LATERAL (SELECT d.* FROM wakes_dead d
			WHERE d.user_id = u.id AND d.channel_id = $1 AND u.seq BETWEEN d.first_seq AND d.last_seq
			ORDER BY d.at DESC LIMIT 1) d ON true
		ORDER BY u.n`
	rows, err := q.conn.Query(ctx, query, channel, seqs, users)
	if err != nil {
		return nil, sentinel(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[WakeState])
	return found, sentinel(err)
}

// A QueueTotal has the totals of all queues, for metrics.
type QueueTotal struct {
	Pending, Claimed, Dead int64
	OldestPending          time.Duration // 0: nothing is pending
}

// QueueTotals counts rows of the wake queue.
func (q Queries) QueueTotals(ctx context.Context) (t QueueTotal, err error) {
	const query = `
		SELECT count(*) FILTER (WHERE lease_until IS NULL OR lease_until <= clock_timestamp()),
			count(*) FILTER (WHERE lease_until > clock_timestamp()),
			(SELECT count(*) FROM wakes_dead WHERE NOT hidden AND outcome = 'dead'),
			coalesce(extract(epoch FROM clock_timestamp() - min(first_at) FILTER (
				WHERE (lease_until IS NULL OR lease_until <= clock_timestamp())
					AND (not_before IS NULL OR not_before <= clock_timestamp()))), 0)::float8
		FROM wakes`
	var seconds float64
	err = q.conn.QueryRow(ctx, query).Scan(&t.Pending, &t.Claimed, &t.Dead, &seconds)
	t.OldestPending = time.Duration(min(seconds, math.MaxInt32) * float64(time.Second))
	return t, sentinel(err)
}
