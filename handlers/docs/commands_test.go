package docs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// testCommand matches a command that runs tests: their packages, a name, and a slash if a subtest follows.
var testCommand = regexp.MustCompile(
	"go test (?:-[\\w.^$' ]+ )?((?:\\./[\\w/]+ )+)[^|`\n]*?-run '?(\\w+)(/?)",
)

// Every test that a page has a command for exists: with a wrong name, go test runs nothing and succeeds.
func TestNamesOfTests(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"README.md", "db/README.md", "events/README.md", ".github/CONTRIBUTING.md",
	} {
		pages = append(pages, filepath.Join(root, name))
	}
	found := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testCommand.FindAllSubmatch(text, -1) {
			found++
			for dir := range bytes.FieldsSeq(m[1]) {
				name := `\w*` + string(m[2]) + `\w*` // as -run matches it
				if len(m[3]) > 0 {
					name = string(m[2])
				}
				if !hasTest(t, filepath.Join(root, string(dir)), name) {
					t.Errorf("%s runs %s in %s, which has no such test", page, m[2], dir)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("got only %d commands, want those of the pages", found)
	}
}

// hasTest reports whether a directory has a test whose name matches a pattern.
func hasTest(t *testing.T, dir, pattern string) bool {
	t.Helper()
	sources, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^func ` + pattern + `\(t \*testing\.T\)`)
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if declared.Match(text) {
			return true
		}
	}
	return false
}
