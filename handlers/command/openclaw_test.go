package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Without -to the command says what to do; with it, the plugin is in the directory.
func TestOpenclawInstall(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := program.Run(t, nil, "openclaw", "install")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "openclaw plugins install") {
		t.Errorf("got exit %d, %q and %q, want the steps", code, stdout, stderr)
	}
	dir := filepath.Join(t.TempDir(), "plugin")
	stdout, stderr, code = program.Run(t, nil, "openclaw", "install", "-to", dir)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "openclaw plugins install "+dir) {
		t.Errorf("got exit %d, %q and %q, want the next step", code, stdout, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "openclaw.plugin.json")); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{"openclaw"}, {"openclaw", "remove"}, {"openclaw", "install", "x"}} {
		if _, stderr, code := program.Run(t, nil, args...); code != 2 {
			t.Errorf("%q: got exit %d and %q, want 2", args, code, stderr)
		}
	}
}
