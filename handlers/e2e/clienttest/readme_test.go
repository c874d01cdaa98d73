package clienttest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The table in docs/clients.md has the versions that these tests use.
func TestPageHasTheVersions(t *testing.T) {
	t.Parallel()
	readme := read(t, "../../docs/clients.md")
	var want []string
	var npm struct{ Dependencies map[string]string }
	if err := json.Unmarshal([]byte(read(t, filepath.Join(scripts, "package.json"))), &npm); err != nil {
		t.Fatal(err)
	}
	for name, version := range npm.Dependencies {
		if alias, ok := strings.CutPrefix(version, "npm:"); ok {
			name, version, _ = strings.Cut(alias, "@")
		}
		want = append(want, name+" "+version)
	}
	modules := read(t, "../../../go.mod")
	for _, name := range []string{"r3labs/sse/v2", "tmaxmax/go-sse", "launchdarkly/eventsource"} {
		version := regexp.MustCompile(`github\.com/` + name + ` v(\S+)`).FindStringSubmatch(modules)
		want = append(want, strings.TrimSuffix(name, "/v2")+" "+version[1])
	}
	for _, row := range want {
		if !strings.Contains(readme, "\n| "+row+" |") {
			t.Errorf("docs/clients.md has no row %q", row)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
