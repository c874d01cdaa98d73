package command

import (
	"net/http"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

func TestRotatedKeyEndsTokens(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	n := program.Start(t, state, "-database-url", dbtest.New(t))
	me := func(token string) int { return n.Get("/api/me", token, nil) }
	old := n.Token("alice")
	if got := me(old); got != http.StatusOK {
		t.Fatalf("got %d for a fresh token, want 200", got)
	}
	stdout, stderr, code := program.Run(t, nil, "token", "-state", state, "-rotate")
	if code != 0 || stdout != "" || stderr != "" {
		t.Errorf("got exit %d, %q and %q, want 0 and nothing to read", code, stdout, stderr)
	}
	young := n.Token("alice")
	guildtest.Eventually(t, "the old token is refused", guildtest.Patience, func() bool { return me(old) == http.StatusUnauthorized })
	if got := me(young); got != http.StatusOK {
		t.Errorf("got %d for a token of the new key, want 200", got)
	}
}
