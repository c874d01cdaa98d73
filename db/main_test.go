package db_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"github.com/google/uuid"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }

// open opens a new database.
func open(t *testing.T) *db.DB {
	t.Helper()
	return openURL(t, dbtest.New(t))
}

func openURL(t *testing.T, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	if _, err := d.Head(t.Context()); err != nil { // begins the first epoch
		t.Fatal(err)
	}
	return d
}

// create creates a channel of type general.
func create(t *testing.T, d *db.DB, members ...string) (uuid.UUID, events.Cursor) {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	var at events.Cursor
	err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		c := events.Channel{
			ID: id, GuildID: "g1", Name: "ops", XType: events.General, History: "joined",
			CreatedBy: members[0], Settings: events.DefaultSettings(events.General),
		}
		at, _, err = tx.CreateChannel(ctx, &c, members, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id, at
}

func newMessage(channel uuid.UUID, author, content string, mentioned ...string) db.NewMessage {
	m := db.NewMessage{Mentioned: mentioned}
	m.ID, m.ChannelID, m.AuthorUserID, m.Content = uuid.Must(uuid.NewV7()), channel, author, content
	return m
}

// post stores a message.
func post(t *testing.T, d *db.DB, channel uuid.UUID, author, content string, mentioned ...string) db.Post {
	t.Helper()
	p, err := d.Post(t.Context(), newMessage(channel, author, content, mentioned...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rename gives a channel another name.
func rename(t *testing.T, d *db.DB, channel uuid.UUID, name string) (at events.Cursor) {
	t.Helper()
	err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		if err := tx.LockChannel(ctx, channel); err != nil {
			return err
		}
		at, err = tx.UpdateChannel(ctx, channel, "alice", db.ChannelUpdate{Name: &name})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// follow returns what follows a position: what the server knows, and otherwise what it reads.
func follow(t *testing.T, d *db.DB, at events.Cursor, limit int) events.Tail {
	t.Helper()
	if known := d.Known(at, limit); len(known.Events) > 0 {
		return known
	}
	read, err := d.Tail(t.Context(), at, limit)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// histories returns how many random histories a test tries: one with -short.
func histories(n uint64) uint64 {
	if testing.Short() {
		return 1
	}
	return n
}

// atRandom is how long a test takes random steps.
func atRandom() time.Duration {
	if testing.Short() {
		return 500 * time.Millisecond
	}
	return 2 * time.Second
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// historyOf returns a part of a history.
func historyOf(ctx context.Context, d *db.DB, h db.History) (found []db.StoredMessage, err error) {
	err = d.ListMessages(ctx, h, func(m db.StoredMessage) bool {
		found = append(found, m)
		return true
	})
	return found, err
}
