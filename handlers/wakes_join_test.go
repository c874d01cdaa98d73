package handlers_test

import (
	"fmt"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"
)

// Sixteen claims of one user wait, and a message wakes the user. A join at the same moment waits for none of
// them: it is answered while the claims cannot go on. And only one of them holds a connection.
func TestAJoinDoesNotWaitForClaims(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	ops := ann.General(t, "ops", "bot").Channel.ID
	bot.Claim(t, nodetest.Body{})
	got, wait := bot.ClaimAtOnce(t, 16)
	if !ssetest.Await(func() bool { return handlers.PlacesTaken(n.Server) == 16 }) {
		t.Fatal("the claims do not wait")
	}
	conn := dbtest.Connect(t, n.Database)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(),
		`SELECT FROM wake_consumers WHERE user_id = 'bot' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	ann.Says(t, ops, "hello")
	if !ssetest.Await(func() bool { return n.Blocked(t) > 0 }) {
		t.Fatal("no claim tries to take the queue")
	}
	ann.Add(t, ops, "carol")
	if got := n.Blocked(t); got != 1 {
		t.Errorf("got %d statements that wait for a lock after the join, want one claim", got)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The other claims end with work of their own.
	for i := range 15 {
		ann.Says(t, ann.General(t, fmt.Sprint("other ", i), "bot").Channel.ID, "hello")
	}
	wait()
	handed := map[string]bool{}
	for range 16 {
		if w := <-got; w != nil {
			handed[w.ChannelID] = true
		}
	}
	if len(handed) != 16 {
		t.Errorf("got the work of %d channels, want 16: each message is handed out once", len(handed))
	}
}
