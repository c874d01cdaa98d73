package handlers_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"
)

// A key file that cannot be read any more, for whatever reason, harms nobody before the next start: the key
// is known. That is told in the log, once, by /readyz and by a metric, until the file can be read again.
func TestAKeyThatBecomesUnreadableStaysInUse(t *testing.T) {
	t.Parallel()
	log := &nodetest.LogBuffer{}
	n := nodetest.Start(t, nodetest.Setup{Logger: slog.New(slog.NewTextHandler(log, nil))})
	alice := n.User("alice")
	path := filepath.Join(n.State, "token.key")
	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content []byte, mode os.FileMode) func() error {
		return func() error { return errors.Join(os.WriteFile(path, content, 0o600), os.Chmod(path, mode)) }
	}
	ready := func() (got nodetest.Readiness) {
		handlers.LookAtKeys(n.Server)
		return nodetest.Call[nodetest.Readiness](t, n.As("", ""), 200, "GET", "/readyz", nil)
	}
	for _, fault := range []struct {
		name  string
		cause func() error
	}{
		{"others can read it", write(key, 0o644)},
		{"damaged", write([]byte("damaged"), 0o600)},
		{"not there", func() error { return os.Remove(path) }},
	} {
		if err := fault.cause(); err != nil {
			t.Fatal(err)
		}
		got := ready()
		if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "token.key") {
			t.Errorf("%s: got %+v, want a warning", fault.name, got)
		}
		nodetest.Call[map[string]any](t, alice, 200, "GET", "/api/me", nil)
		if got := n.Scrape(t).Sum("fabric_guild_key_readable", `file="token.key"`); got != 0 {
			t.Errorf("%s: got %v, want a metric that says so", fault.name, got)
		}
	}
	if err := write(key, 0o600)(); err != nil {
		t.Fatal(err)
	}
	if got := ready(); len(got.Warnings) > 0 {
		t.Errorf("got %+v once it can be read again, want no warning", got)
	}
	nodetest.Call[map[string]any](t, alice, 200, "GET", "/api/me", nil)
	if got := n.Scrape(t).Sum("fabric_guild_key_readable", `file="token.key"`); got != 1 {
		t.Errorf("got %v once it can be read again, want 1", got)
	}
	for text, want := range map[string]int{"the key cannot be read": 1, "the key can be read again": 1} {
		if got := strings.Count(log.String(), text); got != want {
			t.Errorf("got %d lines with %q, want %d", got, text, want)
		}
	}
}
