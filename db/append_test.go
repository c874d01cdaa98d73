package db_test

import (
	"context"
	"slices"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// A server shows its own changes without reading them, and so does a server that hears of them. Both must be
// equal to what a server reads. What a server does not know, it must read.
func TestOwnChangesAreTailedAsTheyAreStored(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, other, reader := openURL(t, url), openURL(t, url), openURL(t, url)
	d.BeHeard()
	_, at := create(t, reader, "alice")
	channel := func(x events.XType, name string) *events.Channel {
		return &events.Channel{
			ID: uuid.Must(uuid.NewV7()), GuildID: "g1", Name: name, XType: x, History: "joined",
			CreatedBy: "alice", Settings: events.DefaultSettings(x),
		}
	}
	general, triage, discuss := channel(events.General, "one"), channel(events.Triage, "two"),
		channel(events.Discuss, "three")
	first := newMessage(general.ID, "alice", "hi")
	turn := newMessage(discuss.ID, "alice", "hi <@bob>", "bob")
	turn.TurnUserID = "bob"
	everyone := []string{"alice", "carol", "bob"}
	seen := map[events.Kind]bool{}
	for _, step := range []struct {
		what   string
		events int
		unread bool // the last event must be read
		do     func(ctx context.Context, tx db.Tx) (events.Cursor, error)
	}{
		{"a channel", 1, false, func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			at, _, err := tx.CreateChannel(ctx, general, everyone, nil)
			return at, err
		}},
		{"a channel with a wake list", 1, false, func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			at, _, err := tx.CreateChannel(ctx, triage, everyone, []string{"carol", "dave"})
			return at, err
		}},
		{"a channel with turns", 1, false, func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			at, _, err := tx.CreateChannel(ctx, discuss, everyone, nil)
			return at, err
		}},
		{"a name", 1, false, func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			return tx.UpdateChannel(ctx, general.ID, "bob", db.ChannelUpdate{Name: new("uno")})
		}},
		{"a setting", 1, false, func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			return tx.UpdateChannel(ctx, general.ID, "alice", db.ChannelUpdate{LoopLimit: new(7)})
		}},
		{"two names", 2, false, func(ctx context.Context, tx db.Tx) (at events.Cursor, err error) {
			for _, name := range []string{"eins", "ένα"} {
				at, err = tx.UpdateChannel(ctx, general.ID, "alice", db.ChannelUpdate{Name: &name})
				if err != nil {
					return at, err
				}
			}
			return at, nil
		}},
		{"a wake list", 1, false, func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			return tx.SetWakeList(ctx, triage.ID, "carol", []string{"bob"})
		}},
		{"a join", 1, false, func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			return tx.AddMember(ctx, general.ID, "dave")
		}},
		{"a post", 1, false, func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			p, err := tx.Post(ctx, first)
			return p.Cursor, err
		}},
		{"an edit", 1, true, func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			return tx.EditMessage(ctx, &first.Message, "alice", "hello", false, "")
		}},
		{"a join and a deletion", 2, true, func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			if at, err := tx.AddMember(ctx, general.ID, "erin"); err != nil {
				return at, err
			}
			return tx.EditMessage(ctx, &first.Message, "alice", "", true, "boss")
		}},
		{
			"a post that hands the turn over", 2, false,
			func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
				p, err := tx.Post(ctx, turn)
				if err != nil {
					return p.Cursor, err
				}
				return tx.TellTurn(ctx, discuss.ID, "carol", "pass")
			},
		},
		{"a leave", 2, false, func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			if at, err := tx.RemoveMember(ctx, discuss.ID, "bob"); err != nil {
				return at, err
			}
			return tx.TellTurn(ctx, discuss.ID, "", "leave")
		}},
		{"an archived channel", 1, false, func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			at, _, err := tx.ArchiveChannel(ctx, general.ID, "bob")
			return at, err
		}},
	} {
		var last events.Cursor
		err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
			last, err = step.do(ctx, tx)
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		for _, ring := range d.Rings(t.Context()) {
			other.Hear(t.Context(), ring)
		}
		read, err := reader.Tail(t.Context(), at, 100)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(read.Events); n != step.events || read.Events[n-1].Cursor != last {
			t.Fatalf("%s: got the events %v, want %d, the last of them %v", step.what, seqs(read.Events),
				step.events, last)
		}
		for who, server := range map[string]*db.DB{"own": d, "heard": other} {
			known := server.Known(at, 100)
			if known.Unread != step.unread {
				t.Errorf("%s, %s: a read is needed: got %v, want %v", step.what, who, known.Unread,
					step.unread)
			}
			// A server that has not read for a second must read.
			if _, err := server.Tail(t.Context(), at, 100); err != nil {
				t.Fatal(err)
			}
			if step.unread {
				continue
			}
			if diff := cmp.Diff(read, known, asRead...); diff != "" {
				t.Errorf("%s (-read +%s):\n%s", step.what, who, diff)
			}
			for _, e := range known.Events {
				seen[e.Kind] = true
			}
		}
		at = last
	}
	read := []events.Kind{
		events.MessageUpdated, events.MessageDeleted, events.WakeDead, events.GuardTripped,
	}
	for _, kind := range events.Kinds {
		if seen[kind] == slices.Contains(read, kind) {
			t.Errorf("%s: known without a read: got %v, want %v", kind, seen[kind], !seen[kind])
		}
	}
}

// Postgres answers a COMMIT with a ROLLBACK if a statement has failed. Then nothing was appended.
func TestATransactionThatFailedIsNotKnown(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, at := create(t, d, "alice")
	follow(t, d, events.Cursor{Epoch: at.Epoch}, 100)
	err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := tx.AddMember(ctx, channel, "bob"); err != nil {
			return err
		}
		if _, err := tx.AddMember(ctx, channel, "bob"); err == nil {
			t.Error("got bob as a member twice")
		}
		return nil
	})
	if err == nil {
		t.Error("got no error of a transaction that was rolled back")
	}
	if known := d.Known(at, 100); len(known.Events) != 0 || !known.Unread {
		t.Errorf("got %v as known, want nothing and a read", seqs(known.Events))
	}
}
