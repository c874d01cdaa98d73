package command

import (
	"encoding/json"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/e2e/guildtest"
)

func TestAdminRefresh(t *testing.T) {
	t.Parallel()
	state, fake := guildtest.StateDir(t), centertest.New(t)
	n := program.Start(t, state, "-database-url", dbtest.New(t), "-center-base-url", fake.URL,
		"-center-api-key", fake.APIKey)
	refresh := func(state string) (stdout, stderr string, code int) {
		return program.Run(t, nil, "admin", "refresh", "-state", state, "-addr", n.Addr())
	}
	wantAnswer := func(want string) {
		t.Helper()
		if stdout, stderr, code := refresh(state); code != 0 || stdout != want+"\n" || stderr != "" {
			t.Errorf("got exit %d, %q and %q, want 0 and the line %s alone", code, stdout, stderr, want)
		}
	}
	wantError := func(state, want string) {
		t.Helper()
		var told map[string]any
		stdout, stderr, code := refresh(state)
		err := json.Unmarshal([]byte(stderr), &told)
		if message, _ := told["error"].(string); code != 1 || stdout != "" || !guildtest.IsOneLine(stderr) ||
			err != nil || told["ok"] != false || !strings.Contains(message, want) {
			t.Errorf("got exit %d, %q and %q, want 1 and a line alone on stderr, not ok, with the error %q",
				code, stdout, stderr, want)
		}
	}
	wantAnswer(`{"ok":true,"before":null,"after":null,"changed":false}`)
	fake.SetAdmin("ada@example.org", "ada")
	wantAnswer(`{"ok":true,"before":null,"after":{"email":"ada@example.org","userId":"ada"},"changed":true}`)
	calls := fake.Calls(centertest.AdminEmail)
	stranger := guildtest.StateDir(t)
	wantError(stranger, "no such file") // whoever operates no server has no key
	if _, err := auth.OpenOperatorKey(stranger); err != nil {
		t.Fatal(err)
	}
	wantError(stranger, "401") // another operator's
	if got := fake.Calls(centertest.AdminEmail); got != calls {
		t.Errorf("got %d calls of Center, want no more than %d: a wrong key refreshes nothing", got, calls)
	}
	n.Stop()
	wantError(state, "reach the server")
}
