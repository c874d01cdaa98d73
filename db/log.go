package db

import (
	"context"
	"fmt"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// eventRow is a row of event_rows.
type eventRow struct {
	Seq            int64
	Kind           events.Kind
	UserID         string
	OccurredAt     events.Time
	ChannelID      uuid.UUID
	GuildID        string
	Name           string
	XType          events.XType
	Reason         *string
	Joined         []string
	MessageID      *uuid.UUID
	MessageSeq     *int64
	AuthorUserID   *string
	Content        *string
	MentionUserIDs []string `db:"mention_user_ids"`
	ReplyTo        *uuid.UUID
	CreatedAt      *events.Time
	EditedAt       *events.Time
	EditedSeq      *int64
	DeletedAt      *events.Time
	TurnUserID     *string
	AdminUserID    *string
	TwoState       bool
	WakeVersion    int
	HeardByAdmin   *string
	Gone           []string
}

func (r *eventRow) event(epoch int64, lists wakeLists) *events.Event {
	e := &events.Event{
		Cursor: events.Cursor{Epoch: epoch, Seq: r.Seq}, Kind: r.Kind, UserID: r.UserID, OccurredAt: r.OccurredAt,
		ChannelID: r.ChannelID, GuildID: r.GuildID, Name: r.Name, XType: r.XType, Joined: r.Joined, Reason: value(r.Reason),
		Admin: value(r.HeardByAdmin), Gone: r.Gone,
	}
	if r.MessageID != nil && r.MessageSeq != nil {
		e.Message = &events.Message{
			ID: *r.MessageID, ChannelID: r.ChannelID, GuildID: r.GuildID, XType: r.XType, AuthorUserID: value(r.AuthorUserID),
			Content: value(r.Content), MentionUserIDs: r.MentionUserIDs, ReplyTo: r.ReplyTo, CreatedAt: *r.CreatedAt,
			EditedAt: r.EditedAt, Deleted: r.DeletedAt != nil, TurnUserID: value(r.TurnUserID),
			Seq: *r.MessageSeq, EditedSeq: value(r.EditedSeq), Admin: value(r.AdminUserID), TwoState: r.TwoState,
			WakeList: lists[wakeKey{epoch, r.ChannelID, r.WakeVersion}],
		}
		e.Message.Settle()
	}
	return e
}

// value is what p points to, or nothing.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// horizon is what log_horizon answers. Epoch, Base and Head are nil in a life of the database without an
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

// errOlderLife is what a connection to a primary that has been replaced leads to.
var errOlderLife = fmt.Errorf("%w: this connection leads to an older life of the database", ErrUnavailable)

// Tail implements events.Log. What this node itself has posted, as far as it follows the position, needs no
// query: those numbers are committed.
func (d *DB) Tail(ctx context.Context, after events.Cursor, limit int) (events.Tail, error) {
	if run, more := d.own.after(after, limit); len(run) > 0 {
		d.mark.set(run[len(run)-1])
		return events.Tail{Events: run, Pending: more, Epoch: after.Epoch}, nil
	}
	for range maxEpochs {
		t, again, err := d.tailRows(ctx, after, limit)
		if err != nil || !again {
			return t, sentinel(err)
		}
	}
	return events.Tail{}, errNoRest
}

// tailRows reads the log's rows. The horizon and the rows are two statements of one round trip, each with a
// snapshot of its own, the rows' the later one: what the horizon says to be decided is seen as decided. A
// third looks at the event at the position, whether it still is what was read there, and at the floor:
// whoever does not see rows that retention took sees its floor.
//
// again says that an epoch has begun, so that the log must be read anew.
func (d *DB) tailRows(ctx context.Context, after events.Cursor, limit int) (t events.Tail, again bool, err error) {
	const rows = `
		SELECT seq, kind, user_id, occurred_at, channel_id, guild_id, name, x_type, reason, joined,
			message_id, message_seq, author_user_id, content, mention_user_ids, reply_to, created_at,
			edited_at, edited_seq, deleted_at, turn_user_id, admin_user_id, two_state, wake_version, heard_by_admin, gone
		FROM event_rows WHERE seq > $1 ORDER BY seq LIMIT $2`
	const position = `
		SELECT coalesce((SELECT f.seq FROM log_floor f), 0), (SELECT e.occurred_at FROM events e WHERE e.seq = $1)`
	var h horizon
	var found []*eventRow
	var at *events.Time
	var b pgx.Batch
	b.Queue(selectHorizon).QueryRow(func(row pgx.Row) error { return row.Scan(h.scan()...) })
	b.Queue(rows, after.Seq, limit).Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[eventRow])
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
	moved := h.Epoch != nil && *h.Epoch != after.Epoch // then a contradiction is an epoch already
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
	t.Epoch, t.Base, t.Head = *h.Epoch, *h.Base, *h.Head
	t.Pending, t.Horizon, t.Last = h.horizon < h.last, h.horizon, h.last
	if moved {
		if err := d.survived(ctx, after, contradiction, &t); err != nil {
			return t, false, err
		}
	}
	if t.Floor > after.Seq {
		return t, false, nil // what was found does not follow on the position
	}
	lists, err := d.wakeListsOf(ctx, Queries{d.tailer}, t.Epoch, found)
	if err != nil {
		return t, false, err
	}
	last := after.Seq
	for _, r := range found {
		if r.Seq > h.horizon {
			break
		}
		if r.Seq <= last {
			return t, false, fmt.Errorf("event %d was read after %d", r.Seq, last) // never: it would be heard by nobody
		}
		last = r.Seq
		t.Events = append(t.Events, r.event(t.Epoch, lists))
	}
	if n := len(t.Events); n > 0 {
		d.mark.set(t.Events[n-1])
	} else {
		d.mark.see(events.Cursor{Epoch: t.Epoch, Seq: after.Seq}, at)
	}
	d.own.forget(h.horizon)
	return t, false, nil
}

// survived sets what has survived since the epoch of a position: of all the epochs since, for one that this
// node never saw may have begun with less than the latest. Nothing has where the epoch or the event is not
// there.
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

// Head is the position of the log's last decided event: where a reader begins that wants only what is new.
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
	c.Seq = max(c.Seq, *h.Head) // a bare horizon is never handed out: after a crash it may be given again
	return c, nil
}

// Memberships implements events.Log. Those that last come first, so that one that ends between two pages is in
// the second part: it is read twice rather than never. An ended membership shows its channel's name as of its end.
func (d *DB) Memberships(ctx context.Context, users []string, asOf int64, from events.Place, limit int) (map[string][]events.Membership, error) {
	// The comparison of pairs fits members_once alone: with the channel by itself, a planner with stale statistics
	// walks members_pkey, through the memberships of everybody. LIMIT keeps the look-ups: a planner without statistics reads whole tables instead. The join with channels drops
	// nothing, or a page that is not the last could be short: a foreign key keeps the channel of each membership.
	const query = `
		SELECT u.id, i.joined_seq, i.left_seq, c.id, c.guild_id,
			CASE WHEN i.left_seq = 0 THEN c.name ELSE coalesce((
				SELECT n.old_name FROM events n
				WHERE n.channel_id = c.id AND n.seq > i.left_seq AND n.old_name IS NOT NULL ORDER BY n.seq LIMIT 1), c.name) END,
			c.x_type, c.private, c.history, c.created_by, c.created_at, CASE WHEN c.archived_seq <= $2 THEN c.archived_at END
		FROM unnest($1::text[]) AS u (id)
		CROSS JOIN LATERAL (
			(SELECT i.channel_id, i.joined_seq, 0::bigint AS left_seq FROM members i
			WHERE i.user_id = u.id AND i.left_seq IS NULL AND (i.user_id, i.channel_id) > (u.id, $3) AND i.joined_seq <= $2
			ORDER BY i.user_id, i.channel_id LIMIT $5)
			UNION ALL
			(SELECT i.channel_id, i.joined_seq, i.left_seq FROM members i
			WHERE i.user_id = u.id AND i.left_seq > $4 AND i.joined_seq <= $2
			ORDER BY i.left_seq LIMIT $5)
			ORDER BY left_seq, channel_id LIMIT $5) i
		CROSS JOIN LATERAL (SELECT * FROM channels c WHERE c.id = i.channel_id LIMIT 1) c
		ORDER BY u.id, i.left_seq, i.channel_id`
	done, err := d.Reading(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
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
		&c.XType, &c.Private, &c.History, &c.CreatedBy, &c.CreatedAt, &c.ArchivedAt,
	}, func() error {
		m.ChannelID = c.ID
		found[user] = append(found[user], m)
		return nil
	})
	return found, sentinel(err)
}
