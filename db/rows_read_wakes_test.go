package db_test

import (
	"fmt"
	"testing"

	"fabric-guild/db"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// wakeRows are the cases of TestRowsRead about the wake queue.
var wakeRows = []rowsCase{
	{
		"work in a channel with a long history", "messages",
		20 * 150, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, _ := create(t, d, "alice", "bot")
			fill(t, c, channel, 3000)
			return workIn(t, d, channel, "alice")
		},
	},
	{
		"work in a channel with many members", "members",
		20 * 150, func(t *testing.T, d *db.DB, _ *pgx.Conn) func(d *db.DB) error {
			channel, _ := create(t, d, append([]string{"bot"}, members(3000)...)...)
			return workIn(t, d, channel, "u0")
		},
	},
	{
		"work of one who came and went often", "members",
		20 * 150, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, _ := create(t, d, "alice")
			comeAndGo(t, c, channel, 3000)
			exec(t, c, `UPDATE members SET user_id = 'bot' WHERE user_id = 'bob'`)
			add(t, d, channel, "bot")
			return workIn(t, d, channel, "alice")
		},
	},
	{
		"work of one with many channels", "members",
		20 * 150, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channelsOf(t, c, "bot", false, 3000)
			channel, _ := create(t, d, "alice", "bot")
			return workIn(t, d, channel, "alice")
		},
	},
}

// workIn lets a bot claim one new message, extend the lease, and reply, while a stream shows the work.
func workIn(t *testing.T, d *db.DB, channel uuid.UUID, author string) func(d *db.DB) error {
	t.Helper()
	claim := db.WakeClaim{User: "bot", Limit: 100, Around: 20, Lease: longLease, Create: true}
	claim.At = position(t, d)
	claim.Since = claim.At.Seq
	if a, err := d.Claim(t.Context(), claim); err != nil || a.Wake != nil {
		t.Fatalf("got %+v and error %v, want a new queue", a, err)
	}
	return times(20, func(d *db.DB) error {
		asked := post(t, d, channel, author, "hi")
		claim.At = asked.Cursor
		a, err := d.Claim(t.Context(), claim)
		if err != nil || a.Wake == nil || a.Wake.Shown.Messages[0].Seq != asked.Cursor.Seq {
			return fmt.Errorf("got %+v and error %w, want the message %d", a, err, asked.Cursor.Seq)
		}
		ref := db.WakeRef{User: "bot", ID: a.Wake.ID}
		if _, err := d.ExtendWake(t.Context(), ref, longLease, new("thinks")); err != nil {
			return err
		}
		seq := asked.Cursor.Seq
		shown, err := d.Working(t.Context(), db.WorkChange{
			User: "bot", Channel: channel, First: seq, Upto: seq,
		})
		if err != nil || len(shown) != 1 || len(shown[0].Messages) != 1 {
			return fmt.Errorf("got %+v and error %w, want the work on one message", shown, err)
		}
		reply := newMessage(channel, "bot", "done")
		reply.Reply = &db.Reply{Wake: a.Wake.ID}
		_, err = d.Post(t.Context(), reply)
		return err
	})
}
