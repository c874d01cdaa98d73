package wakestest_test

import (
	"fmt"
	"testing"

	"fabric-guild/handlers/e2e/nodetest"
)

// The pages of a queue list each wake once, whatever the size of a page.
func TestPagesOfAQueue(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	bot.Claim(t, nodetest.Body{})
	const channels = 4
	for i := range channels {
		ops := ann.General(t, fmt.Sprint("ops", i), "bot").Channel.ID
		for range i { // more dead wakes in the later channels
			ann.Says(t, ops, "will not")
			w := bot.Wake(t, nodetest.Body{"channelIds": []string{ops}})
			bot.Done(t, "POST", "/api/wakes/"+w.ID+"/ack", nodetest.Body{"outcome": "declined"})
		}
		ann.Says(t, ops, "will do")
		if i%2 == 0 {
			bot.Wake(t, nodetest.Body{"channelIds": []string{ops}})
		}
	}
	for _, limit := range []int{1, 2, 3, 5, 50} {
		listed := map[string]int{}
		query := fmt.Sprintf("?limit=%d", limit)
		for after := ""; ; {
			page := bot.QueuePage(t, query+after)
			for _, w := range page.Pending {
				listed["pending in "+w.ChannelID]++
			}
			for _, w := range page.Claimed {
				listed["claimed "+w.ID]++
			}
			for _, w := range page.Dead {
				listed["dead "+w.ID]++
			}
			if page.Next == nil {
				break
			}
			after = "&after=" + *page.Next
		}
		for what, times := range listed {
			if times != 1 {
				t.Errorf("in pages of %d: %s is listed %d times", limit, what, times)
			}
		}
		if want := channels + 0 + 1 + 2 + 3; len(listed) != want {
			t.Errorf("in pages of %d: got %d wakes, want %d", limit, len(listed), want)
		}
	}
}
