package db_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"fabric-guild/db"
	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// rosterRows are the cases of TestRowsRead about one member of a large channel. The look-up of the member's
// interval must not read the memberships of the others.
var rosterRows = []rowsCase{
	{
		"replies of one who was there before many others", "members",
		20 * 50, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, last := crowd(t, d, c)
			reply := newMessage(channel, "bob", "it was this one", "alice")
			reply.ReplyTo = &last.ID
			return times(20, func(d *db.DB) error {
				reply.ID = uuid.Must(uuid.NewV7())
				_, err := d.Post(t.Context(), reply)
				return err
			})
		},
	},
	{
		"unread messages of one who was there before many others", "members",
		20 * 20, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, _ := crowd(t, d, c)
			return unreadIs(t, channel, 1)
		},
	},
	{
		"a search of one who was there before many others", "members",
		20 * 20, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, _ := crowd(t, d, c)
			post(t, d, channel, "alice", "needle")
			return searchFinds(t, d, "bob", 1)
		},
	},
	{
		"a replay of one who was there before many others, and is in few channels", "members",
		20 * 50, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, last := crowd(t, d, c)
			return replayHears(t, d, channel, last.Cursor)
		},
	},
	{
		"a replay of one who was there before many others, and is in many channels", "members",
		20 * 150, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channelsOf(t, c, "bob", true, 30)
			channel, last := crowd(t, d, c)
			return replayHears(t, d, channel, last.Cursor)
		},
	},
	{
		"a replay of an admin who was there before many others", "members",
		20 * 150, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, last := crowd(t, d, c)
			ask := replayHears(t, d, channel, last.Cursor)
			exec(t, c, `UPDATE events SET admin_user_id = 'bob' WHERE seq > $1`, last.Cursor.Seq)
			return ask
		},
	},
	{
		"what is asked about one who was there before many others", "members",
		20 * 50, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, last := crowd(t, d, c)
			return times(20, func(d *db.DB) error {
				if _, err := d.Channel(t.Context(), channel, "bob"); err != nil {
					return err
				}
				was, err := d.WasMember(t.Context(), channel, "bob", last.Cursor.Seq)
				if !was {
					return fmt.Errorf("got error %w, want a member", err)
				}
				next, err := d.NextAfter(t.Context(), channel, "bob")
				if next != "u1" {
					return fmt.Errorf("got %s and error %w, want u1", next, err)
				}
				return err
			})
		},
	},
	{
		"a join of one who was there before many others", "members",
		20 * 50, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, last := crowd(t, d, c)
			exec(t, c, `UPDATE members SET left_seq = $2
				WHERE channel_id = $1 AND user_id = 'bob' AND left_seq IS NULL`, channel, last.Cursor.Seq)
			return times(20, func(d *db.DB) error {
				err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
					_, err := tx.AddMember(ctx, channel, "bob")
					return errors.Join(err, errUndo)
				})
				if err.Error() != errUndo.Error() {
					return err
				}
				return nil
			})
		},
	},
}

// errUndo ends a transaction without its changes.
var errUndo = errors.New("undo")

// crowd returns a channel that bob left twice, and rejoined before 3,000 others joined, one after the other.
// last is alice's only message since.
func crowd(t *testing.T, d *db.DB, c *pgx.Conn) (channel uuid.UUID, last db.Post) {
	t.Helper()
	channel, _ = create(t, d, "alice")
	comeAndGo(t, c, channel, 2)
	add(t, d, channel, "bob")
	exec(t, c, `
		WITH e AS (
			INSERT INTO events (seq, kind, channel_id, user_id)
			SELECT pg_sequence_last_value('events_seq') + s, 'member.joined', $1, 'u' || s
			FROM generate_series(1, 3000) AS s RETURNING seq, user_id
		)
		INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at)
		SELECT $1, user_id, seq, 1, now() FROM e`, channel)
	exec(t, c, `SELECT setval('events_seq', (SELECT max(seq) FROM events))`)
	return channel, post(t, d, channel, "alice", "hi, all")
}

// replayHears posts to the channel, and asks for what bob missed since from.
func replayHears(t *testing.T, d *db.DB, channel uuid.UUID, from events.Cursor) func(d *db.DB) error {
	t.Helper()
	const missed = 5
	var to events.Cursor
	for range missed {
		to = post(t, d, channel, "alice", "hi, bob").Cursor
	}
	return times(20, func(d *db.DB) error {
		page, err := d.Replay(t.Context(), "bob", from.Seq, to.Seq)
		if len(page.Events) != missed {
			return fmt.Errorf("got %d events and error %w, want %d", len(page.Events), err, missed)
		}
		return err
	})
}
