package command

import (
	"net/http"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

func TestRotatedKeyEndsTokens(t *testing.T) {
	dbtest.Long(t)
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
	guildtest.Eventually(t, "the old token is refused", guildtest.Patience,
		func() bool { return me(old) == http.StatusUnauthorized })
	if got := me(young); got != http.StatusOK {
		t.Errorf("got %d for a token of the new key, want 200", got)
	}
}

func TestATokenCanSayWhatItsUserIs(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	n := program.Start(t, state, "-database-url", dbtest.New(t))
	token, stderr, code := program.Run(t, nil, "token", "-state", state, "-agent", "-name",
		"Log agent", "bob")
	if code != 0 || stderr != "" {
		t.Fatalf("got exit %d and %q, want a token", code, stderr)
	}
	var me struct{ UserID, Kind, DisplayName string }
	if got := n.Get("/api/me", strings.TrimSpace(token), &me); got != http.StatusOK {
		t.Fatalf("got %d, want 200", got)
	}
	if me.UserID != "bob" || me.Kind != "agent" || me.DisplayName != "Log agent" {
		t.Errorf("got %+v, want bob, an agent with a name", me)
	}
	for _, args := range [][]string{
		{"-name", strings.Repeat("🙂", 65), "bob"},
		{"-name", "Two", "bob", "carol"},
	} {
		stdout, stderr, code := program.Run(t, nil, append([]string{"token", "-state", state}, args...)...)
		if code == 0 || stdout != "" || stderr == "" {
			t.Errorf("%q: got exit %d and %q, want a refusal", args, code, stdout)
		}
	}
}
