package handlers_test

import (
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"

	"github.com/google/uuid"
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

// A claim that comes while another one waits looks at the database from time to time, because rings from
// another server may have been lost.
func TestAClaimBesideOneThatWaits(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	handlers.LookAtWakes(n.Server, time.Nanosecond)
	ann, bot := n.User("ann"), n.User("bot")
	ops := ann.General(t, "ops", "bot").Channel.ID
	bot.Claim(t, nodetest.Body{})
	ann.Says(t, ops, "hi")
	w := bot.Wake(t, nodetest.Body{"waitSeconds": 60})
	bot.Done(t, "POST", "/api/wakes/"+w.ID+"/ack", nodetest.Body{"outcome": "declined"})
	claimRaw(t, bot, waits)
	park(t, n, 1)
	if !ssetest.Await(func() bool { return handlers.ClaimsAreIdle(n.Server, "bot") }) {
		t.Fatal("the claim does not wait")
	}
	// A retry on another server, whose ring is lost.
	there, err := db.Open(t.Context(), n.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	ref := db.WakeRef{User: "bot", ID: uuid.MustParse(bot.Queue(t).Dead[0].ID)}
	at, err := there.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := there.RetryWake(t.Context(), ref, at); err != nil {
		t.Fatal(err)
	}
	if got := bot.Claim(t, nodetest.Body{}); got == nil {
		t.Error("got no wake after the retry")
	}
}
