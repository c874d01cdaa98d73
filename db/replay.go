package db

import (
	"context"

	"fabric-guild/events"

	"github.com/jackc/pgx/v5"
)

// replayEvents is the maximum number of events in a page. The number is in the statements too, where the
// planner can see it. A page also ends with the message that makes its frames replayBytes long: the frames
// stay in memory while the client reads them.
const (
	replayEvents = 500
	replayBytes  = 1 << 20
)

// Replay implements live.Log. A join with the user's intervals decides which events are the user's. At or
// below upTo every number is decided, so the join is exact. An admin also hears the events that were stored
// for them, as a member or not.
//
// There are two ways to read a page. With few intervals, Replay looks up the next events of each interval, in
// indexes by channel. This costs what the user missed, however much was posted in other channels meanwhile.
// With many intervals, it walks the event log in parts, and stops when the page is full. Both find only
// numbers. Then only the rows of the page are joined with what they refer to. The interval of an event is
// looked up by a comparison of triples, because only members_pkey fits it.
func (d *DB) Replay(ctx context.Context, user string, after, upTo int64) (events.Page, error) {
	const plan = `
		SELECT (SELECT count(*) FROM (
			(SELECT FROM members WHERE user_id = $1 AND left_seq IS NULL AND joined_seq <= $3 LIMIT 17)
			UNION ALL
			(SELECT FROM members WHERE user_id = $1 AND left_seq > $2 AND joined_seq <= $3
				LIMIT 17)) AS i) <= 16,
		coalesce((SELECT max(seq) FROM events WHERE seq > $2 AND seq <= least($3, $2 + 20000)),
			(SELECT min(seq) FROM events WHERE seq > $2 AND seq <= $3), $3)`
	const fewIntervals = `
		WITH page AS (
			SELECT f.seq, i.joined_seq, coalesce(i.left_seq, 0) AS left_seq
			FROM members i CROSS JOIN LATERAL (
				(SELECT m.seq FROM messages m WHERE m.channel_id = i.channel_id
					AND m.seq > $2 AND m.seq >= i.joined_seq AND m.seq <= least($3, i.left_seq) ORDER BY m.seq
						LIMIT 500)
				UNION ALL
				(SELECT e.seq FROM events e WHERE e.channel_id = i.channel_id AND e.kind <> 'message.created'
					AND e.seq > $2 AND e.seq >= i.joined_seq AND e.seq <= least($3, i.left_seq) ORDER BY e.seq
						LIMIT 500)
			) f
			WHERE i.user_id = $1 AND i.joined_seq <= $3 AND (i.left_seq IS NULL OR i.left_seq > $2)
			UNION ALL
			(SELECT e.seq, 0, 0 FROM events e
			WHERE e.admin_user_id = $1 AND e.seq > $2 AND e.seq <= $3
				AND (SELECT i.channel_id = e.channel_id AND i.user_id = $1
						AND (i.left_seq IS NULL OR e.seq <= i.left_seq) FROM members i
					WHERE (i.channel_id, i.user_id, i.joined_seq) <= (e.channel_id, $1, e.seq)
					ORDER BY i.channel_id DESC, i.user_id DESC, i.joined_seq DESC LIMIT 1) IS NOT TRUE
			ORDER BY e.seq LIMIT 500)
			ORDER BY seq LIMIT 500
		)`
	const manyIntervals = `
		WITH walked AS (
			SELECT e.seq, e.channel_id FROM events e
			WHERE e.seq > $2 AND e.seq <= $3 AND (e.admin_user_id = $1 OR e.channel_id IN (
				SELECT i.channel_id FROM members i
				WHERE i.user_id = $1 AND i.joined_seq <= $3 AND (i.left_seq IS NULL OR i.left_seq > $2)))
			ORDER BY e.seq LIMIT 500
		), page AS (
			SELECT w.seq, coalesce(i.joined_seq, 0) AS joined_seq, coalesce(i.left_seq, 0) AS left_seq
			FROM walked w LEFT JOIN LATERAL (
				SELECT i.channel_id, i.user_id, i.joined_seq, i.left_seq FROM members i
				WHERE (i.channel_id, i.user_id, i.joined_seq) <= (w.channel_id, $1, w.seq)
				ORDER BY i.channel_id DESC, i.user_id DESC, i.joined_seq DESC LIMIT 1) i
				ON i.channel_id = w.channel_id AND i.user_id = $1
					AND (i.left_seq IS NULL OR w.seq <= i.left_seq)
		)`
	// This must come after the rows. Retention moves the floor in the transaction that deletes, so a reader
	// that misses deleted rows sees the new floor.
	const floorAndEpoch = `
		SELECT f.seq, log_epoch() FROM log_floor f`
	var few bool
	var far int64
	if err := d.conn.QueryRow(ctx, plan, user, after, upTo).Scan(&few, &far); err != nil {
		return events.Page{}, sentinel(err)
	}
	find := fewIntervals
	if !few {
		find = manyIntervals
		upTo = far
	}
	var found []*heardRow
	var floor int64
	var epoch int64
	var b pgx.Batch
	b.Queue(find+selectPage, user, after, upTo).Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[heardRow])
		return err
	})
	b.Queue(floorAndEpoch).QueryRow(func(row pgx.Row) error { return row.Scan(&floor, &epoch) })
	if err := d.conn.SendBatch(ctx, &b).Close(); err != nil {
		return events.Page{}, sentinel(err)
	}
	if after < floor {
		return events.Page{}, events.ErrExpired
	}
	asRows := make([]*eventRow, len(found))
	for i, r := range found {
		asRows[i] = &r.eventRow
	}
	lists, err := d.wakeListsOf(ctx, d.Queries, epoch, asRows)
	if err != nil {
		return events.Page{}, err
	}
	p := events.Page{Reached: upTo, Epoch: epoch}
	if len(found) == replayEvents {
		p.Reached = found[len(found)-1].Seq
	}
	bytes := 0
	for _, r := range found {
		if r.Kind == "" || r.JoinedSeq == 0 && value(r.HeardByAdmin) != user {
			continue // missing, or outside of the user's memberships of the channel
		}
		in := events.Interval{ChannelID: r.ChannelID, Joined: r.JoinedSeq, Left: r.LeftSeq}
		e := r.event(epoch, lists)
		p.Events = append(p.Events, events.Heard{Event: e, In: in})
		bytes += e.FrameSize()
		if bytes >= replayBytes {
			p.Reached = r.Seq
			break
		}
	}
	return p, nil
}
