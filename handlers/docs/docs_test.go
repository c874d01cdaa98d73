package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fabric-guild/handlers/docs"
)

// Every Markdown file of the folder is a page, and begins with a title and a sentence that says what it is
// for.
func TestPages(t *testing.T) {
	t.Parallel()
	var served, want []string
	for _, p := range docs.Pages() {
		served = append(served, p.Name+".md")
		if p.Title == "" || !strings.HasSuffix(p.Summary, ".") || strings.Count(p.Summary, ". ") > 0 {
			t.Errorf("%s: got title %q and summary %q, want a title and one sentence", p.Name,
				p.Title, p.Summary)
		}
		if strings.ContainsAny(p.Summary, "`*[") {
			t.Errorf("%s: got the summary %q, want plain text: the list of pages shows it as it is", p.Name,
				p.Summary)
		}
		for _, name := range []string{p.Name, p.Name + ".md"} {
			if f, ok := docs.Open(name); !ok || len(f.Body) == 0 {
				t.Errorf("%s is not served", name)
			}
		}
	}
	want, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(served)
	if !slices.Equal(served, want) {
		t.Errorf("got the pages %q, want those in the folder, %q", served, want)
	}
}

// The pages have their recipes in place, as HTML and as Markdown, and nothing that the policy would block.
func TestRecipesAreInPlace(t *testing.T) {
	t.Parallel()
	var pages, html strings.Builder
	for _, name := range []string{"agents", "clients", "openclaw"} {
		text, _ := docs.Open(name + ".md")
		pages.Write(text.Body)
		shown, _ := docs.Open(name)
		html.Write(shown.Body)
	}
	recipes, err := filepath.Glob("recipes/*")
	if err != nil || len(recipes) < 4 {
		t.Fatalf("got the recipes %q and %v, want four or more", recipes, err)
	}
	for _, name := range recipes {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(pages.String(), "\n"+string(source)+"```\n") {
			t.Errorf("no page shows %s", name)
		}
	}
	for _, what := range []string{"<script", "<style", " style=", " onclick="} {
		if strings.Contains(html.String(), what) {
			t.Errorf("a page has %s, which the Content-Security-Policy blocks", what)
		}
	}
}

var (
	mdLink   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	htmlLink = regexp.MustCompile(`(?:href|src)="([^"]+)"`)
	anchor   = regexp.MustCompile(`<h[1-6] id="([^"]+)"`)
)

// Every link of README, pages and engineers' pages leads to a file that exists, and to a heading of it.
func TestLinksOfTheSources(t *testing.T) {
	t.Parallel()
	sources, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join("..", "..")
	for _, name := range []string{
		"README.md", "events/README.md", "db/README.md",
		".github/CONTRIBUTING.md",
	} {
		sources = append(sources, filepath.Join(root, name))
	}
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mdLink.FindAllStringSubmatch(string(text), -1) {
			target, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := filepath.Join(filepath.Dir(source), target)
			if target == "" {
				path = source
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s, which is not there", source, m[1])
			} else if heading != "" && !slices.Contains(headings(t, path), heading) {
				t.Errorf("%s links to %s, which has no such heading", source, m[1])
			}
		}
	}
}

// headings returns the anchors of the headings of a Markdown file, as GitHub makes them.
func headings(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var anchors []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(string(text), -1) {
		words := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors = append(anchors, strings.ReplaceAll(words, " ", "-"))
	}
	return anchors
}

// Every link of a served page leads to something that is served.
func TestLinksOfTheServedPages(t *testing.T) {
	t.Parallel()
	outside := []string{"../openapi.json", "openapi.json", "llms.txt", "../docs", "docs", "./"}
	names := []string{""}
	for _, p := range docs.Pages() {
		names = append(names, p.Name)
	}
	for _, name := range names {
		f, _ := docs.Open(name)
		for _, m := range htmlLink.FindAllStringSubmatch(string(f.Body), -1) {
			target, heading, _ := strings.Cut(m[1], "#")
			if slices.Contains(outside, target) || strings.HasPrefix(target, "https://") {
				continue
			}
			if name == "" {
				target = strings.TrimPrefix(target, "docs/")
			}
			if target == "" {
				target = name
			}
			if _, ok := docs.Open(target); !ok {
				t.Errorf("/docs/%s links to %s, which is not served", name, m[1])
			}
			if heading != "" && !hasHeading(t, target+".md", heading) {
				t.Errorf("/docs/%s links to %s, which has no such heading", name, m[1])
			}
		}
	}
}

func hasHeading(t *testing.T, page, heading string) bool {
	t.Helper()
	f, ok := docs.Open(strings.TrimSuffix(page, ".md"))
	if !ok {
		t.Errorf("%s is no page", page)
		return false
	}
	for _, m := range anchor.FindAllStringSubmatch(string(f.Body), -1) {
		if m[1] == heading {
			return true
		}
	}
	return false
}

// The list for language models has every page, with a link to its Markdown.
func TestLLMs(t *testing.T) {
	t.Parallel()
	list := string(docs.LLMs().Body)
	for _, p := range docs.Pages() {
		if !strings.Contains(list, "(docs/"+p.Name+".md): "+p.Summary) {
			t.Errorf("llms.txt lacks %s", p.Name)
		}
	}
}

// The README is short, and its table names every page.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(readme), "\n"); n > 220 {
		t.Errorf("the README has %d lines, want 220 at most", n)
	}
	err = fs.WalkDir(os.DirFS("."), ".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") && !strings.Contains(string(readme), "(handlers/docs/"+path+")") {
			t.Errorf("the README does not link to %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// The diagram of agents.md has every state that a wake can have, and every outcome that the schema knows.
func TestDiagramHasAllStates(t *testing.T) {
	t.Parallel()
	page, _ := docs.Open("agents.md")
	_, rest, _ := strings.Cut(string(page.Body), "reply, ack")
	diagram, _, _ := strings.Cut(rest, "```")
	schema, err := os.ReadFile(filepath.Join("..", "..", "migrations", "schema.sql"))
	if err != nil {
		t.Fatal(err)
	}
	check := regexp.MustCompile(
		`wakes_dead_outcome_known CHECK \(\(outcome = ANY \(ARRAY\[(.*)\]`,
	).FindSubmatch(schema)
	if check == nil {
		t.Fatal("got no list of outcomes in schema.sql")
	}
	states := []string{"pending", "claimed", "done"}
	for _, m := range regexp.MustCompile(`'(\w+)'`).FindAllStringSubmatch(string(check[1]), -1) {
		states = append(states, m[1])
	}
	for _, state := range states {
		if !regexp.MustCompile(`(─▶ |\n )` + state + `\b`).MatchString(diagram) {
			t.Errorf("the diagram of agents.md does not lead to %s", state)
		}
	}
	if len(states) < 7 {
		t.Errorf("got only the states %q", states)
	}
}
