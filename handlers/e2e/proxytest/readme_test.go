package proxytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// docs/proxies.md shows the configurations that these tests use.
func TestPageShowsTheConfigurations(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds {
		config, err := os.ReadFile(filepath.Join("../../../testdata/proxies", k.config))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(readme), "```\n"+string(config)+"```\n") {
			t.Errorf("docs/proxies.md does not show testdata/proxies/%s", k.config)
		}
	}
}
