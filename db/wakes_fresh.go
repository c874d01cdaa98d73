package db

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// fresh returns the row that the scan of this transaction adds, if that is the only one that a claim can
// choose. Then there is no choice, and the row is leased as it is inserted. nil: the claim must choose.
//
// Whoever adds a row holds the lock of the queue. So there are no other rows than those that lockConsumers
// has read and those that this scan adds. Of these, one of a channel without another row cannot be leased,
// paused or exhausted, and nobody else sees it before the COMMIT. A row that becomes due meanwhile can wait
// for the next claim, but not one that this claim takes over.
func (c *claiming) fresh() *wakeRow {
	q := &c.queue
	takesOver := c.Instance != "" && len(q.occupied) > 0
	if q.scannedSeq < c.At.Seq || q.due || takesOver || len(q.occupied) == occupiedRead ||
		len(q.found) != 1 || c.MaxAge > 0 {
		return nil
	}
	r := q.found[0]
	if slices.Contains(q.occupied, r.channel) ||
		len(c.Channels) > 0 && !slices.Contains(c.Channels, r.channel) ||
		c.Guilds != nil && !slices.Contains(c.Guilds, r.guild) {
		return nil
	}
	return &wakeRow{
		UserID: c.User, ChannelID: r.channel, FirstSeq: r.first, LastSeq: r.last, Width: fullWidth,
	}
}

// A leasing is a fresh row with what its claim hands out.
type leasing struct {
	*claiming
	row *wakeRow
	out handOut
}

// claimFresh queues in end what inserts and leases fresh rows and reads what their workers see: one statement
// for all of them each. All claims are at the same position.
func (tx Tx) claimFresh(all []leasing, at events.Cursor, end *pgx.Batch) {
	if len(all) == 0 {
		return
	}
	var users []string
	for _, l := range all {
		l.begin(end, tx)
		l.Wake = l.out.wake(l.WakeClaim, l.row)
		l.done = true
		users = append(users, l.User)
		tx.working(l.row, l.out.first().Seq, l.out.last().Seq)
	}
	queueLeases(end, all)
	const move = `
		UPDATE wake_consumers SET scanned_seq = greatest(scanned_seq, $2), claimed_at = clock_timestamp()
		WHERE user_id = ANY ($1)`
	end.Queue(move, users, at.Seq)
	queueFresh(end, all, at.Seq)
}

// insertLeased inserts rows that are leased, and returns their channels as their users see them.
var insertLeased = `
	WITH leased AS (
		INSERT INTO wakes (user_id, channel_id, first_seq, last_seq, first_at, priority, rest_priority,
			attempts, width, id, claimed_upto, claimed_at, first_attempt_at, lease_until, worker, instance,
			rest_at)
		SELECT u.user_id, u.channel_id, u.first_seq, u.last_seq, u.first_at,
			greatest(u.priority, u.rest_priority), u.rest_priority, 1, u.width, u.id, u.upto,
			clock_timestamp(), clock_timestamp(), clock_timestamp() + u.lease, u.worker, u.instance, u.rest_at
		FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::smallint[],
				$7::smallint[], $8::int[], $9::uuid[], $10::bigint[], $11::interval[], $12::text[],
				$13::text[], $14::timestamptz[])
			AS u (user_id, channel_id, first_seq, last_seq, first_at, priority, rest_priority, width, id,
				upto, lease, worker, instance, rest_at)
		RETURNING user_id, channel_id, id, lease_until)
	SELECT l.id AS wake_id, l.lease_until, c.* FROM leased l
	CROSS JOIN LATERAL (SELECT ` + forColumn(channelColumns, "$2", "l.user_id") + `
		FROM channels c WHERE c.id = l.channel_id LIMIT 1) c`

func queueLeases(b *pgx.Batch, all []leasing) {
	var users []string
	var channels, ids []uuid.UUID
	var firsts, lasts, uptos []int64
	var times []time.Time
	var strongest, rests []int16
	var widths []int
	var leases []time.Duration
	var workers, instances []*string
	var restTimes []*time.Time
	wakes := map[uuid.UUID]*Wake{}
	for _, l := range all {
		last := l.out.last().Seq
		if l.out.rest != nil {
			last = l.row.LastSeq
		}
		users = append(users, l.User)
		channels = append(channels, l.row.ChannelID)
		firsts = append(firsts, l.out.first().Seq)
		lasts = append(lasts, last)
		times = append(times, l.out.first().CreatedAt.Time)
		strongest = append(strongest, l.out.strongest)
		rests = append(rests, l.out.restPriority)
		widths = append(widths, l.out.width)
		ids = append(ids, l.Wake.ID)
		uptos = append(uptos, l.out.last().Seq)
		leases = append(leases, l.Lease)
		workers = append(workers, optional(l.Worker))
		instances = append(instances, optional(l.Instance))
		restTimes = append(restTimes, l.out.restAt())
		wakes[l.Wake.ID] = l.Wake
	}
	b.Queue(insertLeased, users, channels, firsts, lasts, times, strongest, rests, widths, ids, uptos, leases,
		workers, instances, restTimes).Query(func(rows pgx.Rows) error {
		type leased struct {
			WakeID     uuid.UUID
			LeaseUntil events.Time
			Channel
		}
		found, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[leased])
		for _, f := range found {
			w := wakes[f.WakeID]
			w.LeaseUntil, w.Shown.Channel = f.LeaseUntil, f.Channel
		}
		return err
	})
}

// selectFresh is a short selectShown for several users $1 with one channel $2 each. It reads the latest $3
// messages of the current membership, or of the channel if all members may read all of it: those up to the
// number $4, and the user's own. Almost always they have all that the worker sees, see showing.lacks. The
// rows come in any order. It looks up the current wake list once for each user, not for each message.
var selectFresh = `
	SELECT h.n, m.id, m.seq, m.channel_id, c.guild_id, c.x_type, ` + messageColumns + `,
		CASE m.wake_version WHEN 0 THEN false WHEN c.wake_version THEN c.on_list
			ELSE ` + forColumn(onList, "$1", "h.user_id") + ` END AS on_list,
		CASE WHEN m.seq >= c.joined_seq THEN c.joined_seq END AS joined_seq, 0::bigint AS left_seq
	FROM unnest($1::text[], $2::uuid[], $3::int[]) WITH ORDINALITY AS h (user_id, channel_id, most, n)
	CROSS JOIN LATERAL (SELECT c.guild_id, c.x_type, c.history, c.wake_version, i.joined_seq,
			EXISTS (SELECT FROM wake_lists w WHERE w.channel_id = c.id AND w.version = c.wake_version
				AND h.user_id = ANY (w.user_ids)) AS on_list
		FROM channels c CROSS JOIN LATERAL (SELECT i.joined_seq FROM members i
			WHERE i.channel_id = c.id AND i.user_id = h.user_id AND i.left_seq IS NULL LIMIT 1) i
		WHERE c.id = h.channel_id LIMIT 1) c
	CROSS JOIN LATERAL ` + authored(`(
		SELECT a.* FROM messages a
		WHERE a.channel_id = h.channel_id AND a.seq >= CASE c.history WHEN 'all' THEN 0 ELSE c.joined_seq END
			AND (a.seq <= $4 OR a.author_user_id = h.user_id)
		ORDER BY a.seq DESC LIMIT h.most)`) + ` m`

func queueFresh(b *pgx.Batch, all []leasing, scanned int64) {
	var users []string
	var channels []uuid.UUID
	var most []int
	var shows []showing
	for _, l := range all {
		s := showing{Wake: l.Wake, user: l.User, scanned: scanned, around: l.Around}
		l.Wake.Shown.Around = make([]StoredMessage, 0, l.Around)
		shows = append(shows, s)
		users = append(users, l.User)
		channels = append(channels, l.row.ChannelID)
		most = append(most, l.Around+len(l.Wake.Messages))
	}
	b.Queue(selectFresh, users, channels, most, scanned).Query(func(rows pgx.Rows) error {
		found := make([][]StoredMessage, len(all))
		var r freshRow
		_, err := pgx.ForEachRow(rows, fieldsOf(&r), func() error {
			found[r.N-1] = append(found[r.N-1], r.stored())
			r = freshRow{}
			return nil
		})
		newest := func(a, b StoredMessage) int { return cmp.Compare(b.Seq, a.Seq) }
		for i, l := range all {
			slices.SortFunc(found[i], newest)
			for _, m := range found[i] {
				shows[i].add(m)
			}
			l.lacks = shows[i].lacks()
		}
		return err
	})
}

// A freshRow is a row of selectFresh: a message of the Nth claim.
type freshRow struct {
	N int64
	storedRow
}

// showAgain reads once more what the worker sees of a wake that was claimed, by selectShown. If it returns an
// error, it has given the wake back: nobody gets it.
func (d *DB) showAgain(ctx context.Context, c *claiming) error {
	ctx, cancel := finish(ctx)
	defer cancel()
	var b pgx.Batch
	c.Wake.queueShown(&b, c.User, c.Wake.Shown.Channel.ID, c.At.Seq, c.Around)
	err := d.conn.SendBatch(ctx, &b).Close()
	if err == nil {
		return nil
	}
	back := d.UnclaimWake(context.WithoutCancel(ctx), WakeRef{User: c.User, Guilds: c.Guilds, ID: c.Wake.ID})
	return errors.Join(sentinel(err), back)
}
