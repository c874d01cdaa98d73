package handlers_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"fabric-guild/events"
	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"
)

// A signal lasts for as long as its server says, by whatever clock that server has.
func TestSignalsOfAServerWithAnotherClock(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann := n.User("ann")
	ops := ann.General(t, "ops").Channel
	stream, _ := ann.Fresh(t, nodetest.Raw, "?activity=true")
	hear := func(kind string, ago, lasts time.Duration) {
		sent := time.Now().Add(-ago)
		doing := events.Doing{ChannelID: uuid.MustParse(ops.ID), UserID: "bot", Kind: kind}
		handlers.Hear(n.Server, &events.Signal{
			Event: events.Activity, ChannelID: doing.ChannelID, GuildID: "g1", UserID: "bot",
			At: n.Router.Position(), Sent: sent.UnixNano(), Until: sent.Add(lasts), Data: doing.Encode(),
		})
	}
	// Nobody hears a signal before the stream is live, so both are sent again and again.
	ended := make(chan struct{})
	var sending sync.WaitGroup
	defer sending.Wait()
	defer close(ended)
	sending.Go(func() {
		for {
			hear("typing", time.Hour, -time.Second) // it is over
			hear("thinking", time.Hour, time.Minute)
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ended:
				return
			}
		}
	})
	if got := stream.Signal(t, "activity"); !strings.Contains(got, "thinking") {
		t.Errorf("got %s, want what still lasts", got)
	}
}
