package db_test

import (
	"errors"
	"testing"

	"fabric-guild/db"
	"fabric-guild/events"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
)

func TestAPostIsOneEventWithItsMessage(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, created := create(t, d, "alice", "bob", "carol")
	p := post(t, d, channel, "alice", "hi <@bob>", "bob", "mallory", "alice")

	if diff := cmp.Diff([]string{"bob"}, p.MentionUserIDs); diff != "" {
		t.Errorf("the at-list holds members without the author (-want +got):\n%s", diff)
	}
	if p.Roster != nil {
		t.Errorf("a message that wakes mentioned users: got the roster %v, want none", p.Roster)
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
	if diff := cmp.Diff(p.Message, *e.Message, cmpopts.EquateEmpty(),
		cmpopts.IgnoreUnexported(events.Message{})); diff != "" {
		t.Errorf("the message in the log is not the one answered (-answer +log):\n%s", diff)
	}
}

func TestAPostThatWakesEveryoneNamesTheFirstMembers(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, _ := create(t, d, "alice", "bob", "carol")
	p := post(t, d, channel, "alice", "hi <@mallory>", "mallory")
	if diff := cmp.Diff([]string{"alice", "bob", "carol"}, p.Roster); diff != "" || p.MemberCount != 3 {
		t.Errorf("got %d members, first (-want +got):\n%s", p.MemberCount, diff)
	}
}

func TestAStrangersPostIsRefusedAndStoresNothing(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, created := create(t, d, "alice")
	reply := newMessage(channel, "alice", "hi")
	reply.ReplyTo = new(uuid.UUID)
	for name, m := range map[string]db.NewMessage{
		"not a member":    newMessage(channel, "mallory", "hi"),
		"no channel":      newMessage(uuid.New(), "alice", "hi"),
		"reply to nobody": reply,
	} {
		if _, err := d.Post(t.Context(), m); !errors.Is(err, db.ErrRefused) {
			t.Errorf("%s: got %v, want %v", name, err, db.ErrRefused)
		}
	}
	tail, err := d.Tail(t.Context(), created, 10)
	if err != nil || len(tail.Events) != 0 {
		t.Errorf("got %d events and error %v, want none", len(tail.Events), err)
	}
}
