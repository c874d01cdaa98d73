package handlers_test

import (
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers"
)

// A desk stays for a while after its last claim, and keeps its watch. The next claim looks at the database all the
// same: a ring from another server may have been lost meanwhile.
func TestADeskStaysAfterItsLastClaim(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bot := n.user("ann"), n.user("bot")
	ops := ann.general(t, "ops", "bot").Channel.ID
	bot.claim(t, body{})
	ann.says(t, ops, "hi")
	w := bot.wake(t, body{"waitSeconds": 60})
	bot.done(t, "POST", "/api/wakes/"+w.ID+"/nack", body{"delaySeconds": 3600})
	if got := bot.claim(t, body{"waitSeconds": 1}); got != nil {
		t.Fatalf("got the wake %+v during its pause", got)
	}
	if there, watched := handlers.HasDesk(n.server, "bot"); !there || !watched {
		t.Errorf("after the claim: a desk %v, its watch %v, want both", there, watched)
	}
	// What another server does, whose ring is lost.
	if _, err := dbtest.Connect(t, n.database).Exec(t.Context(), `UPDATE wakes SET not_before = NULL`); err != nil {
		t.Fatal(err)
	}
	if got := bot.claim(t, body{}); got == nil {
		t.Error("got no wake after the end of its pause")
	}
	handlers.CloseDesk(n.server, "bot")
	if there, _ := handlers.HasDesk(n.server, "bot"); there {
		t.Error("the desk stays for ever")
	}
}
