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
	n.Settle(t) // a list looks no further than the node has read
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

// A list says that it is behind if it could not look through everything. The next one goes on. A further page
// does not look, and a user without a queue is never behind.
func TestAListThatIsBehind(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	ops := ann.General(t, "ops", "bot").Channel.ID
	bot.Claim(t, nodetest.Body{})
	n.Settle(t)
	n.Exec(t, `
		INSERT INTO messages (id, channel_id, seq, author_user_id, content, mention_user_ids, created_at)
		SELECT gen_random_uuid(), $1, pg_sequence_last_value('events_seq') + n, 'ann', 'hi', '{}', now()
		FROM generate_series(1, 20500) n`, ops)
	n.Exec(t, `SELECT setval('events_seq', (SELECT max(seq) FROM messages))`)
	ann.Says(t, ops, "last")
	n.Settle(t)
	page := bot.QueuePage(t, "?limit=1")
	if !page.Behind || len(page.Pending) != 1 || page.Next == nil {
		t.Fatalf("got %+v, want one pending wake, and that the list is behind", page)
	}
	if next := bot.QueuePage(t, "?after="+*page.Next); next.Behind {
		t.Errorf("got %+v for a further page, want that it is not behind", next)
	}
	if q := n.User("carol").Queue(t); q.Behind {
		t.Errorf("got %+v without a queue, want that it is not behind", q)
	}
	for bot.Queue(t).Behind {
	}
	if got := n.Count(t, `SELECT last_seq FROM wakes`); got != n.Count(t, `SELECT max(seq) FROM messages`) {
		t.Errorf("got a wake up to %d, want it up to the last message", got)
	}
}
