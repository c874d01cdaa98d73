package db_test

import (
	"errors"
	"testing"

	"fabric-guild/db"
	"fabric-guild/events"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestAPostIsInTheLogOnceWithItsMessage(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, created := create(t, d, "alice", "bob", "carol")
	p := post(t, d, channel, "alice", "hi <@bob>", "bob", "mallory", "alice")

	if diff := cmp.Diff([]string{"bob"}, p.MentionUserIDs); diff != "" {
		t.Errorf("the at-list holds members without the author (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"alice", "bob", "carol"}, p.Roster); diff != "" {
		t.Errorf("the roster (-want +got):\n%s", diff)
	}
	tail, err := d.Tail(t.Context(), created, 10)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(tail.Events); got != 1 {
		t.Fatalf("got %d events after the post, want 1", got)
	}
	e := tail.Events[0]
	if e.Cursor != p.Cursor || e.Kind != events.MessageCreated {
		t.Errorf("got %v %v, want %v %v", e.Kind, e.Cursor, events.MessageCreated, p.Cursor)
	}
	if diff := cmp.Diff(p.Message, *e.Message); diff != "" {
		t.Errorf("the message in the log is not the one answered (-answer +log):\n%s", diff)
	}
}

func TestAStrangersPostIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, created := create(t, d, "alice")
	for name, m := range map[string]events.Message{
		"not a member":    {ID: uuid.New(), ChannelID: channel, AuthorUserID: "mallory", Content: "hi"},
		"no channel":      {ID: uuid.New(), ChannelID: uuid.New(), AuthorUserID: "alice", Content: "hi"},
		"reply to nobody": {ID: uuid.New(), ChannelID: channel, AuthorUserID: "alice", Content: "hi", ReplyTo: new(uuid.UUID)},
	} {
		if _, err := d.PostMessage(t.Context(), m, nil, nil); !errors.Is(err, db.ErrRefused) {
			t.Errorf("%s: got %v, want %v", name, err, db.ErrRefused)
		}
	}
	tail, err := d.Tail(t.Context(), created, 10)
	if err != nil || len(tail.Events) != 0 {
		t.Errorf("got %d events and error %v, want none", len(tail.Events), err)
	}
}
