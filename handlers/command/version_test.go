package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The page run.md says how to name the version of a build. A build without one says that it is not released.
func TestVersionOfABuild(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("left out by -short: it links the program twice")
	}
	page, err := os.ReadFile("../docs/run.md")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`go build -ldflags "([^"]+)"`).FindStringSubmatch(string(page))
	if flags == nil {
		t.Fatal("the page run.md has no go build with -ldflags")
	}
	for _, tt := range []struct{ flags, want string }{
		{flags[1], "fabric-guild v1.2.3 go1."},
		{"", "fabric-guild unreleased go1."},
	} {
		path := filepath.Join(t.TempDir(), "fabric-guild")
		build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-ldflags", tt.flags,
			"-o", path, "fabric-guild")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err := exec.CommandContext(t.Context(), path, "version").Output()
		if err != nil || !strings.HasPrefix(string(out), tt.want) {
			t.Errorf("with the flags %q: got %q and %v, want %q", tt.flags, out, err, tt.want)
		}
	}
}
