package handlers_test

import (
	"testing"

	"github.com/google/uuid"

	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestFreshPostsHaveARate(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	cyd := n.User("cyd")
	id := n.User("ann").General(t, "ops", "cyd").Channel.ID
	last := n.User("ann").Says(t, id, "who knows?").Message.ID
	if err := handlers.SpendFreshness(n.Server, "cyd", uuid.MustParse(id)); err != nil {
		t.Fatal(err)
	}
	post := nodetest.Body{"content": "me", "ifLast": last}
	cyd.WantRefused(t, 429, "rate_limited", "POST", "/api/channels/"+id+"/messages", post)
}
