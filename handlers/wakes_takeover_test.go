package handlers_test

import (
	"testing"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"
)

// A new instance takes the work of the old one over with its first claim, also if this claim does not wait,
// and while claims of another worker wait here and have found nothing.
func TestANewInstanceTakesOverAtOnce(t *testing.T) {
	t.Parallel()
	for name, waits := range map[string]bool{"nobody waits": false, "another worker waits": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := nodetest.Start(t, nodetest.Setup{})
			ann, bot := n.User("ann"), n.User("bot")
			ops := ann.General(t, "ops", "bot").Channel.ID
			bot.Claim(t, nodetest.Body{"worker": "w", "instance": "one"})
			ann.Says(t, ops, "hi")
			w := bot.Wake(t, nodetest.Body{"worker": "w", "instance": "one", "leaseSeconds": 600})
			ended := make(chan struct{})
			if waits {
				go func() {
					defer close(ended)
					bot.Claim(t, nodetest.Body{"worker": "other", "waitSeconds": 60})
				}()
				if !ssetest.Await(func() bool { return handlers.ClaimsAreIdle(n.Server, "bot") }) {
					t.Fatal("the claim does not wait")
				}
			} else {
				close(ended)
			}
			got := bot.Claim(t, nodetest.Body{"worker": "w", "instance": "two"})
			if got == nil || got.Messages[0].ID != w.Messages[0].ID || got.Attempt != 2 {
				t.Errorf("got %+v, want the work of the old instance, as the second attempt", got)
			}
			if again := bot.Claim(t, nodetest.Body{"worker": "w", "instance": "two"}); again != nil {
				t.Errorf("got %+v for the second claim of the instance, want nothing", again)
			}
			ann.Says(t, ops, "end")
			bot.Done(t, "DELETE", "/api/wakes", nil)
			<-ended
		})
	}
}
