package main

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// These tests are about the source code as a whole: who may import whom, and how it is written. The tests of
// the program's commands are in handlers/command, and those of the program among proxies and faults in
// handlers/e2e.

// walls has each package of this module, and the packages of this module that it may import. A new package
// needs a line here. Tests may import what they like.
var walls = map[string]string{
	"main": "events/remote handlers/command handlers/config",

	"events":           "", // rules and encoding: see pure
	"events/histogram": "",
	"events/live":      "events events/histogram", // the event log and the transports are interfaces there
	"events/transport": "events events/live",
	"events/remote":    "", // a client of the server knows it by its wire, as do agent, follow and tail
	"events/agent":     "events/remote",
	"events/follow":    "events events/remote",
	"events/tail":      "events events/follow events/remote",

	"db":         "events migrations", // the event log does not know who reads it
	"db/pgrun":   "",                  // runs a Postgres, without a schema
	"migrations": "",

	"handlers": "db events events/live events/transport handlers/auth handlers/center handlers/chat " +
		"handlers/console handlers/docs handlers/edge handlers/markdown handlers/metrics " +
		"handlers/openclaw handlers/web",
	"handlers/auth":     "events handlers/center handlers/chat handlers/web", // who somebody is
	"handlers/center":   "events events/histogram handlers/chat",
	"handlers/chat":     "", // rules take small values: see pure
	"handlers/console":  "handlers/web",
	"handlers/docs":     "handlers/web",
	"handlers/edge":     "handlers/web", // who gets in, and how much
	"handlers/markdown": "handlers/chat",
	"handlers/metrics":  "db events events/histogram events/live handlers/center handlers/edge",
	"handlers/openclaw": "",
	"handlers/web":      "events", // knows HTTP, not the guild

	"handlers/bench":  "handlers/auth handlers/config",
	"handlers/config": "db db/pgrun handlers/chat",
	"handlers/node":   "db events/live handlers handlers/auth handlers/edge",
	"handlers/command": "db db/pgrun events events/agent events/tail handlers handlers/auth handlers/bench " +
		"handlers/center handlers/chat handlers/config handlers/edge handlers/node handlers/openclaw",

	// Helpers of tests. No other package may import them, so the program does not contain them.
	"db/dbtest":                  "db db/pgrun migrations",
	"events/ssetest":             "",
	"handlers/center/centertest": "events/ssetest",
	"handlers/e2e/guildtest":     "db/dbtest db/pgrun events/ssetest",
	"handlers/e2e/nodetest": "db db/dbtest events/live events/ssetest handlers handlers/auth " +
		"handlers/center handlers/center/centertest handlers/config handlers/e2e/guildtest handlers/edge " +
		"handlers/node",
	"handlers/e2e/clienttest":   "", // this one and those below have only tests
	"handlers/e2e/consoletest":  "",
	"handlers/e2e/edgetest":     "",
	"handlers/e2e/fairtest":     "",
	"handlers/e2e/faultstest":   "",
	"handlers/e2e/openclawtest": "",
	"handlers/e2e/operatetest":  "",
	"handlers/e2e/proxytest":    "",
	"handlers/e2e/rulestest":    "",
	"handlers/e2e/soaktest":     "",
	"handlers/e2e/streamtest":   "",
	"handlers/e2e/wakestest":    "",
}

// outside has packages from elsewhere, with the packages of this module that alone may import them. It holds
// for the packages below them, too.
var outside = map[string]string{
	// SQL is for db.
	"github.com/jackc":        "db db/pgrun db/dbtest handlers/e2e/guildtest handlers/e2e/nodetest",
	"database/sql":            "db",
	"github.com/prometheus":   "handlers/metrics", // others count for themselves
	"github.com/r3labs":       "events/transport events/follow",
	"github.com/yuin":         "handlers/docs handlers/markdown",
	"github.com/microcosm-cc": "handlers/markdown",
	"testing": "db/dbtest events/ssetest handlers/center/centertest handlers/e2e/guildtest " +
		"handlers/e2e/nodetest",
}

// pure has packages, and what they must not import although others may.
var pure = map[string]string{
	"events":        "sync context net os log math/rand runtime",  // no lock, wait, I/O or chance
	"handlers/chat": "context net os log math/rand time database", // the same question has the same answer
	"events/live":   "net database",                               // connections are for transports
	"db":            "net/http",                                   // status codes are for handlers
	"migrations":    "context net os log math/rand time database sync",
}

func TestImports(t *testing.T) {
	t.Parallel()
	const module = "fabric-guild"
	const format = `{{.ImportPath}}:{{join .Imports " "}}`
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", format, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	local := func(path string) string {
		if path == module {
			return "main"
		}
		return strings.TrimPrefix(path, module+"/")
	}
	below := func(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }
	missing := maps.Clone(walls)
	for line := range strings.Lines(string(out)) {
		path, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		name := local(path)
		may, known := walls[name]
		if !known {
			t.Errorf("the package %s has no line in the table walls: add one", name)
		}
		delete(missing, name)
		for imported := range strings.FieldsSeq(imports) {
			if below(imported, module) {
				if !slices.Contains(strings.Fields(may), local(imported)) {
					t.Errorf("%s imports %s: the table walls does not allow that", name, local(imported))
				}
				continue
			}
			for parent, importers := range outside {
				if below(imported, parent) && !slices.Contains(strings.Fields(importers), name) {
					t.Errorf("%s imports %s: only %s may", name, imported, importers)
				}
			}
			for banned := range strings.FieldsSeq(pure[name]) {
				if below(imported, banned) && imported != "sync/atomic" { // which caches frames
					t.Errorf("%s imports %s: the table pure forbids that", name, imported)
				}
			}
		}
	}
	for name := range missing {
		t.Errorf("the table walls has %s, and there is no such package", name)
	}
}

// sources calls do for each file below this folder whose name ends in one of the given ways, and whose Git
// repository it is part of.
func sources(t *testing.T, do func(path, text string), ends ...string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == ".git" || name == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.Contains(ends, filepath.Ext(path)) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err == nil {
			do(path, string(b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// riddles are phrases that readers had to read twice, with better ones.
var riddles = map[string]string{
	"(is|are|was|were) to be": "must, should or will",
	"(is|are) told of":        "hears of, or gets",
	"of an age":               "how long something lasts",
	"as it is then":           "again, and when",
	"(is|are) let through":    "who may",
	"what came of":            "the result of",
}

// Comments, texts, pages and the OpenAPI document are written in plain English.
func TestSourcesAreInPlainEnglish(t *testing.T) {
	t.Parallel()
	marks := regexp.MustCompile(`\n[ \t]*(//|--|#|\*)[ \t]*`)
	// One expression for all, because reading all sources takes long.
	each := regexp.MustCompile(`\b(` + strings.Join(slices.Collect(maps.Keys(riddles)), "|") + `)\b`)
	sources(t, func(path, text string) {
		if path == "main_test.go" || path == filepath.Join(".github", "CONTRIBUTING.md") {
			return // they name the riddles
		}
		text = marks.ReplaceAllString(text, " ") // a comment may break a phrase between two lines
		text = strings.ToLower(strings.Join(strings.Fields(text), " "))
		found := each.FindString(text)
		if found == "" {
			return
		}
		for riddle, better := range riddles {
			if regexp.MustCompile(riddle).MatchString(found) {
				t.Errorf("%s says %q: write %s", path, found, better)
			}
		}
	}, ".go", ".md", ".json", ".html", ".js", ".css", ".sql", ".yaml", ".yml")
}

const (
	columns  = 110
	tabWidth = 4
)

// Lines of Go have at most 110 columns, with tabs of four.
func TestColumns(t *testing.T) {
	t.Parallel()
	sources(t, func(path, text string) {
		number := 0
		for line := range strings.Lines(text) {
			number++
			line = strings.TrimRight(line, "\n")
			got := utf8.RuneCountInString(line) + (tabWidth-1)*strings.Count(line, "\t")
			if got > columns {
				t.Errorf("%s:%d has %d columns, want at most %d", path, number, got, columns)
			}
		}
	}, ".go")
}

// A test that -short leaves out names a test of its subject that -short runs.
func TestLongTestsNameAFastOne(t *testing.T) {
	t.Parallel()
	test := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\) \{\n(\tdbtest\.Long\(t\))?`)
	named := regexp.MustCompile(`dbtest\.Long\(t\) // (Test\w+) is fast`)
	fast, references := map[string]bool{}, map[string]string{}
	sources(t, func(path, text string) {
		for _, found := range test.FindAllStringSubmatch(text, -1) {
			fast[found[1]] = found[2] == ""
		}
		for _, found := range named.FindAllStringSubmatch(text, -1) {
			references[found[1]] = path
		}
	}, ".go")
	for name, path := range references {
		if !fast[name] {
			t.Errorf("%s names %s, which does not exist or is left out by -short too", path, name)
		}
	}
}

// The table of the files of package db has each of them, once.
func TestEveryFileHasItsPlace(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("db", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "\n## The files\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var named []string
	for _, found := range regexp.MustCompile("`([a-z_]+\\.go)`").FindAllStringSubmatch(table, -1) {
		named = append(named, found[1])
	}
	slices.Sort(named)
	files, err := filepath.Glob(filepath.Join("db", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			want = append(want, filepath.Base(file))
		}
	}
	if !slices.Equal(named, want) {
		t.Errorf("the table of files in db/README.md has\n%v\nwant\n%v", named, want)
	}
}
