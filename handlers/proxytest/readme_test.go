package proxytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What these tests run is what docs/proxies.md shows.
func TestPageShowsTheConfigurations(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds {
		config, err := os.ReadFile(filepath.Join("../../testdata/proxies", k.config))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(readme), "```\n"+string(config)+"```\n") {
			t.Errorf("got no %s in docs/proxies.md, want it as it is in testdata/proxies", k.config)
		}
	}
}
