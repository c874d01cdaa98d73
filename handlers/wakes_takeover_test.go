package handlers_test

import (
	"testing"

	"fabric-guild/handlers"
)

// A new instance takes the work of the old one over with its first claim, also if this claim does not wait, and
// while claims of another worker wait here and have found nothing.
func TestANewInstanceTakesOverAtOnce(t *testing.T) {
	t.Parallel()
	for name, waits := range map[string]bool{"nobody waits": false, "another worker waits": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := start(t, setup{})
			ann, bot := n.user("ann"), n.user("bot")
			ops := ann.general(t, "ops", "bot").Channel.ID
			bot.claim(t, body{"worker": "w", "instance": "one"})
			ann.says(t, ops, "hi")
			w := bot.wake(t, body{"worker": "w", "instance": "one", "leaseSeconds": 600})
			ended := make(chan struct{})
			if waits {
				go func() {
					defer close(ended)
					bot.claim(t, body{"worker": "other", "waitSeconds": 60})
				}()
				if !eventually(func() bool { return handlers.ClaimsAreIdle(n.server, "bot") }) {
					t.Fatal("the claim does not wait")
				}
			} else {
				close(ended)
			}
			got := bot.claim(t, body{"worker": "w", "instance": "two"})
			if got == nil || got.Messages[0].ID != w.Messages[0].ID || got.Attempt != 2 {
				t.Errorf("got %+v, want the work of the old instance, as the second attempt", got)
			}
			if again := bot.claim(t, body{"worker": "w", "instance": "two"}); again != nil {
				t.Errorf("got %+v for the second claim of the instance, want nothing", again)
			}
			ann.says(t, ops, "end")
			bot.done(t, "DELETE", "/api/wakes", nil)
			<-ended
		})
	}
}
