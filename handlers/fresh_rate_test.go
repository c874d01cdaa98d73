package handlers_test

import (
	"testing"

	"github.com/google/uuid"

	"fabric-guild/handlers"
)

func TestFreshPostsHaveARate(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	cyd := n.user("cyd")
	id := n.user("ann").general(t, "ops", "cyd").Channel.ID
	last := n.user("ann").says(t, id, "who knows?").Message.ID
	if err := handlers.SpendFreshness(n.server, "cyd", uuid.MustParse(id)); err != nil {
		t.Fatal(err)
	}
	post := body{"content": "me", "ifLast": last}
	cyd.wantRefused(t, 429, "rate_limited", "POST", "/api/channels/"+id+"/messages", post)
}
