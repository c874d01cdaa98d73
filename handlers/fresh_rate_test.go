package handlers_test

import (
	"testing"

	"github.com/google/uuid"

	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"
)

// A user may send one post with ifLast per second in a channel. A repetition is not a new post: it gets the
// stored answer at once, for a message and for a reply. A request with a new key or without a key is a new
// post.
func TestFreshPostsHaveARate(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	bot.Claim(t, nodetest.Body{})
	for _, xType := range []string{"general", "discuss"} {
		for _, replies := range []bool{false, true} {
			id := ann.Makes(t, xType, []string{"bot"}, nil).Channel.ID
			path := "/api/channels/" + id + "/messages"
			b := nodetest.Body{"content": "answer", "ifLast": ann.Says(t, id, "one").Message.ID}
			if replies {
				b["wakeId"] = bot.Wake(t, nodetest.Body{"channelIds": []string{id}}).ID
			}
			send := func(headers ...string) nodetest.Answer {
				t.Helper()
				a, err := bot.Do("POST", path, b, headers...)
				if err != nil {
					t.Fatal(err)
				}
				return a
			}
			first := send("Idempotency-Key", "k")
			if err := handlers.SpendFreshness(n.Server, "bot", uuid.MustParse(id)); err != nil {
				t.Fatal(err)
			}
			again := send("Idempotency-Key", "k")
			if first.Status != 201 || again.String() != first.String() {
				t.Errorf("%s, reply %v: got %v, then %v, want the same answer", xType, replies, first, again)
			}
			delete(b, "wakeId")
			for _, a := range []nodetest.Answer{send(), send("Idempotency-Key", "k2")} {
				nodetest.WantProblem(t, a, 429, "rate_limited")
				if got, want := a.Header.Get("RateLimit-Policy"), `"ifLast";q=1;w=1`; got != want {
					t.Errorf("got RateLimit-Policy %s, want %s", got, want)
				}
			}
		}
	}
}
