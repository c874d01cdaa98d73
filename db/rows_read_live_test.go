package db_test

import (
	"context"
	"fmt"
	"testing"

	"fabric-guild/db"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// liveRows are the cases of TestRowsRead about unread messages and the search.
var liveRows = []rowsCase{
	{
		"unread messages of a newcomer", "messages",
		20 * 60, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, _ := create(t, d, "alice")
			fill(t, c, channel, 3000)
			add(t, d, channel, "bob")
			post(t, d, channel, "alice", "hi, bob")
			return unreadIs(t, channel, 1)
		},
	},
	{
		"unread messages in a channel that nobody ever read", "messages",
		20 * 8 * 150, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, _ := create(t, d, "alice", "bob")
			fill(t, c, channel, 3000)
			return unreadIs(t, channel, db.MaxUnread)
		},
	},
	{
		"unread messages of one who came and went often", "members",
		20 * 100, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, _, _ := oftenGone(t, d, c)
			return unreadIs(t, channel, 1)
		},
	},
	{
		"unread messages of one channel among many markers", "read_markers",
		20 * 8, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, _ := create(t, d, "alice", "bob")
			exec(t, c,
				`INSERT INTO read_markers (user_id, channel_id, read_seq) SELECT 'u' || s, $1, 1
					FROM generate_series(1, 3000) s`, channel)
			exec(t, c,
				`INSERT INTO read_markers (user_id, channel_id, read_seq) SELECT 'bob', gen_random_uuid(), 1
					FROM generate_series(1, 3000) s`)
			post(t, d, channel, "alice", "hi")
			return unreadIs(t, channel, 1)
		},
	},
	{
		"a search of a newcomer", "message_words",
		20 * 20, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, _ := create(t, d, "alice")
			fill(t, c, channel, 3000)
			add(t, d, channel, "bob")
			post(t, d, channel, "alice", "needle")
			return searchFinds(t, d, "bob", 1)
		},
	},
	// A window of 4,096 numbers can hold 2,048 of the caller's own intervals.
	{
		"a search of one who came and went often", "members",
		20 * 2100, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			channel, _, _ := oftenGone(t, d, c)
			post(t, d, channel, "alice", "needle")
			return searchFinds(t, d, "bob", 1)
		},
	},
	{
		"a search beside a channel of others", "message_words",
		20 * 20, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
			others, _ := create(t, d, "alice")
			fill(t, c, others, 3000)
			channel, _ := create(t, d, "alice", "bob")
			post(t, d, channel, "alice", "needle")
			return searchFinds(t, d, "bob", 1)
		},
	},
}

func add(t *testing.T, d *db.DB, channel uuid.UUID, user string) {
	t.Helper()
	err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := tx.AddMember(ctx, channel, user)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// unreadIs asks what bob has not read.
func unreadIs(t *testing.T, channel uuid.UUID, want int) func(d *db.DB) error {
	return times(20, func(d *db.DB) error {
		found, err := d.Unread(t.Context(), "bob", []uuid.UUID{channel}, db.Now)
		if found[channel].Messages != want {
			return fmt.Errorf("got %+v and error %w, want %d unread", found[channel], err, want)
		}
		return err
	})
}

// searchFinds fills the index, and searches for the needle, the newest message, with a limit that it fills.
func searchFinds(t *testing.T, d *db.DB, user string, want int) func(d *db.DB) error {
	t.Helper()
	head, err := d.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.IndexWords(t.Context(), head); err != nil {
		t.Fatal(err)
	}
	return times(20, func(d *db.DB) error {
		scope, _, _, err := d.SearchScope(t.Context(), user, nil, "", "needle")
		if err != nil {
			return err
		}
		hits, _, err := d.Search(t.Context(),
			db.Search{User: user, Channels: scope, Query: "needle", Limit: want})
		if len(hits) != want {
			return fmt.Errorf("got %d hits and error %w, want %d", len(hits), err, want)
		}
		return err
	})
}
