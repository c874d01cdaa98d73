package handlers_test

import (
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"
)

// A desk stays for a while after its last claim, and keeps its watch. The next claim looks at the database
// all the same: a ring from another server may have been lost meanwhile.
func TestADeskStaysAfterItsLastClaim(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	ops := ann.General(t, "ops", "bot").Channel.ID
	bot.Claim(t, nodetest.Body{})
	ann.Says(t, ops, "hi")
	w := bot.Wake(t, nodetest.Body{"waitSeconds": 60})
	bot.Done(t, "POST", "/api/wakes/"+w.ID+"/nack", nodetest.Body{"delaySeconds": 3600})
	if got := bot.Claim(t, nodetest.Body{"waitSeconds": 1}); got != nil {
		t.Fatalf("got the wake %+v during its pause", got)
	}
	if there, watched := handlers.HasDesk(n.Server, "bot"); !there || !watched {
		t.Errorf("after the claim: a desk %v, its watch %v, want both", there, watched)
	}
	// What another server does, whose ring is lost.
	if _, err := dbtest.Connect(t, n.Database).Exec(
		t.Context(), `UPDATE wakes SET not_before = NULL`,
	); err != nil {
		t.Fatal(err)
	}
	if got := bot.Claim(t, nodetest.Body{}); got == nil {
		t.Error("got no wake after the end of its pause")
	}
	handlers.CloseDesk(n.Server, "bot")
	if there, _ := handlers.HasDesk(n.Server, "bot"); there {
		t.Error("the desk stays")
	}
}
