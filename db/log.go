package db

import (
	"context"
	"fmt"

	"fabric-guild/events"

	"github.com/jackc/pgx/v5"
)

// horizon is the result of log_horizon. Epoch, Base and Head are nil in a life of the database without an
// epoch.
type horizon struct {
	last, horizon     int64
	Epoch, Base, Head *int64
	Contradiction     *string
}

const selectHorizon = `SELECT last, horizon, epoch, base, head, contradiction FROM log_horizon()`

func (h *horizon) scan() []any {
	return []any{&h.last, &h.horizon, &h.Epoch, &h.Base, &h.Head, &h.Contradiction}
}

// errOlderLife says that a connection leads to a primary that has been replaced.
var errOlderLife = fmt.Errorf("%w: this connection leads to an older life of the database", ErrUnavailable)

// Tail implements live.Log.
func (d *DB) Tail(ctx context.Context, after events.Cursor, limit int) (t events.Tail, err error) {
	d.known.ask()
	defer func() {
		if err != nil {
			d.known.suspect()
		}
	}()
	for range maxEpochs {
		t, again, err := d.tailRows(ctx, after, limit)
		if err != nil || !again {
			return t, sentinel(err)
		}
	}
	return events.Tail{}, errNoRest
}

// Known implements live.Log. Events that this server knows need no query if they follow the position without
// a gap: their numbers are committed.
func (d *DB) Known(after events.Cursor, limit int) events.Tail {
	run, pending, unread := d.known.after(after, limit)
	if len(run) > 0 {
		d.mark.set(run[len(run)-1])
	}
	return events.Tail{Events: run, Pending: pending, Unread: unread, Epoch: after.Epoch}
}

// tailRows reads rows of the event log. It sends three statements in one round trip, and each has its own
// snapshot. The first reads the horizon. The second reads the rows later, so every number that the horizon
// calls decided is decided there. The third checks that the event at the position is still the event that was
// read, and reads the floor: a reader that misses rows that retention removed sees the new floor.
//
// again says that an epoch has begun. Then the event log must be read again.
func (d *DB) tailRows(
	ctx context.Context, after events.Cursor, limit int,
) (t events.Tail, again bool, err error) {
	const position = `
		SELECT coalesce((SELECT f.seq FROM log_floor f), 0),
			(SELECT e.occurred_at FROM events e WHERE e.seq = $1)`
	var h horizon
	var found []*tailRow
	var at *events.Time
	var b pgx.Batch
	b.Queue(selectHorizon).QueryRow(func(row pgx.Row) error { return row.Scan(h.scan()...) })
	b.Queue(selectTail, after.Seq, limit).Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[tailRow])
		return err
	})
	b.Queue(position, after.Seq).QueryRow(func(row pgx.Row) error { return row.Scan(&t.Floor, &at) })
	if err := d.tailer.SendBatch(ctx, &b).Close(); err != nil {
		return t, false, err
	}
	contradiction := value(h.Contradiction)
	if contradiction == "" {
		contradiction = d.mark.contradiction(after, &h, t.Floor, at)
	}
	moved := h.Epoch != nil && *h.Epoch != after.Epoch // then another server may have ended the epoch already
	if moved && h.Contradiction == nil {
		again, err = d.renew(ctx, &h, "")
	} else {
		again, err = d.renew(ctx, &h, contradiction)
	}
	if err != nil || again {
		return t, again, err
	}
	if *h.Epoch < after.Epoch {
		return t, false, errOlderLife
	}
	d.epoch.Store(*h.Epoch)
	t.Epoch = *h.Epoch
	t.Base = *h.Base
	t.Head = *h.Head
	t.Pending = h.horizon < h.last
	t.Horizon = h.horizon
	t.Last = h.last
	if moved {
		if err := d.survived(ctx, after, contradiction, &t); err != nil {
			return t, false, err
		}
	}
	if t.Floor > after.Seq {
		return t, false, nil // the rows do not follow the position
	}
	rowsOf := make([]*eventRow, len(found))
	for i, r := range found {
		rowsOf[i] = &r.eventRow
	}
	lists, err := d.wakeListsOf(ctx, Queries{d.tailer}, t.Epoch, rowsOf)
	if err != nil {
		return t, false, err
	}
	last := after.Seq
	for _, r := range found {
		if r.Seq > h.horizon {
			break
		}
		if r.Seq <= last {
			return t, false, fmt.Errorf("event %d was read after %d", r.Seq, last) // no stream would hear it
		}
		last = r.Seq
		e := r.event(t.Epoch, lists)
		e.Gone = r.Gone
		t.Events = append(t.Events, e)
	}
	if n := len(t.Events); n > 0 {
		d.mark.set(t.Events[n-1])
	} else {
		d.mark.see(events.Cursor{Epoch: t.Epoch, Seq: after.Seq}, at)
	}
	d.known.read(t.Epoch, h.horizon, h.last, t.Events, len(t.Events) == limit)
	return t, false, nil
}

// survived sets t.Base to the smallest base of all epochs since the epoch of the position: an epoch that this
// server never saw may have begun with less than the latest one. The base is 0 if the position's epoch or
// event does not exist.
func (d *DB) survived(ctx context.Context, at events.Cursor, contradiction string, t *events.Tail) error {
	const query = `
		SELECT min(base) FILTER (WHERE epoch > $1), $1 = 0 OR bool_or(epoch = $1),
			coalesce(string_agg(ended, '; ' ORDER BY epoch) FILTER (WHERE epoch >= $1), '')
		FROM epochs`
	var known bool
	if err := d.tailer.QueryRow(ctx, query, at.Epoch).Scan(&t.Base, &known, &t.Contradiction); err != nil {
		return err
	}
	if t.Base < at.Seq { // the position itself is gone
		return nil
	}
	if !known {
		contradiction = "the epoch that was read is not in the table of epochs"
	}
	if contradiction != "" {
		t.Base, t.Contradiction = 0, contradiction
	}
	return nil
}

// Head returns the position of the last decided event. A reader that wants only new events begins there.
func (d *DB) Head(ctx context.Context) (events.Cursor, error) {
	const last = `SELECT greatest((SELECT max(seq) FROM events WHERE seq <= $1), (SELECT seq FROM log_floor))`
	h, err := d.current(ctx, d.conn)
	if err != nil {
		return events.Cursor{}, sentinel(err)
	}
	d.epoch.CompareAndSwap(0, *h.Epoch)
	c := events.Cursor{Epoch: *h.Epoch}
	if err := d.conn.QueryRow(ctx, last, h.horizon).Scan(&c.Seq); err != nil {
		return events.Cursor{}, sentinel(err)
	}
	c.Seq = max(c.Seq, *h.Head) // never a bare horizon: after a crash the number may be given out again
	return c, nil
}

// Memberships implements live.Log. Current memberships come first. So a membership that ends between two
// pages is in the second part of the list: it is read twice and never missed. A past membership has its
// channel's name as of its end.
func (d *DB) Memberships(
	ctx context.Context, users []string, asOf int64, from events.Place, limit int,
) (map[string][]events.Membership, error) {
	// Only members_once fits the comparison of pairs. With a comparison of the channel alone, a planner with
	// stale statistics walks members_pkey, through the memberships of everybody. The LIMITs keep these
	// look-ups: a planner without statistics would read whole tables. The join with channels must drop no
	// row, or a page that is not the last could be short. It drops none, because a foreign key keeps the
	// channel of each membership.
	const query = `
		SELECT u.id, i.joined_seq, i.left_seq, c.id, c.guild_id,
			CASE WHEN i.left_seq = 0 THEN c.name ELSE coalesce((
				SELECT n.old_name FROM events n
				WHERE n.channel_id = c.id AND n.seq > i.left_seq AND n.old_name IS NOT NULL ORDER BY n.seq
					LIMIT 1), c.name) END,
			c.x_type, c.private, c.history, c.created_by, c.created_at, CASE
			WHEN c.archived_seq <= $2 THEN c.archived_at END,
			c.loop_limit, c.human_wakes, c.agent_wakes
		FROM unnest($1::text[]) AS u (id)
		CROSS JOIN LATERAL (
			(SELECT i.channel_id, i.joined_seq, 0::bigint AS left_seq FROM members i
			WHERE i.user_id = u.id AND i.left_seq IS NULL AND (i.user_id, i.channel_id) > (u.id, $3)
				AND i.joined_seq <= $2
			ORDER BY i.user_id, i.channel_id LIMIT $5)
			UNION ALL
			(SELECT i.channel_id, i.joined_seq, i.left_seq FROM members i
			WHERE i.user_id = u.id AND i.left_seq > $4 AND i.joined_seq <= $2
			ORDER BY i.left_seq LIMIT $5)
			ORDER BY left_seq, channel_id LIMIT $5) i
		CROSS JOIN LATERAL (SELECT * FROM channels c WHERE c.id = i.channel_id LIMIT 1) c
		ORDER BY u.id, i.left_seq, i.channel_id`
	rows, err := d.conn.Query(ctx, query, users, asOf, from.Channel, from.Left, limit)
	if err != nil {
		return nil, sentinel(err)
	}
	found := map[string][]events.Membership{}
	var user string
	var m events.Membership
	c := &m.Channel
	_, err = pgx.ForEachRow(rows, []any{
		&user, &m.Joined, &m.Left, &c.ID, &c.GuildID, &c.Name,
		&c.XType, &c.Private, &c.History, &c.CreatedBy, &c.CreatedAt, &c.ArchivedAt, &c.LoopLimit,
		&c.HumanWakes, &c.AgentWakes,
	}, func() error {
		m.ChannelID = c.ID
		found[user] = append(found[user], m)
		return nil
	})
	return found, sentinel(err)
}
