// Package docs holds the pages for users. They are Markdown files in this folder, embedded in the program and
// served at /docs: as HTML for people, and as Markdown for programs.
package docs

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"path"
	"regexp"
	"strings"
	"sync"

	"fabric-guild/handlers/web"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
)

//go:embed *.md *.html *.css *.svg recipes
var files embed.FS

// order lists the pages as the index shows them. A page that is not here is not served.
var order = []string{
	"stream", "waking", "live", "api", "agents", "openclaw", "clients", "migrate",
	"run", "proxies", "security", "operate", "measured", "glossary",
}

// A Page is one of the pages.
type Page struct {
	Name     string // its path below /docs
	Title    string // its first heading
	Summary  string // its first paragraph, which says what the page is for
	Markdown []byte // with its recipes in place
	Body     template.HTML
}

// Pages returns all pages in the order of the index.
func Pages() []Page { return site().pages }

// Open returns what is served at /docs/NAME: a page as HTML (stream), a page as Markdown (stream.md), or a
// file that pages refer to (style.css). The empty name is the index. ok is false when there is nothing.
func Open(name string) (f web.File, ok bool) {
	f, ok = site().files[name]
	return f, ok
}

// LLMs returns the list of pages for language models (llmstxt.org), served at /llms.txt.
func LLMs() web.File { return site().llms }

type built struct {
	pages []Page
	files map[string]web.File
	llms  web.File
}

// site renders all pages on first use. The input is embedded, so an error is a fault of the build; a test
// renders every page.
var site = sync.OnceValue(func() built {
	b := built{files: map[string]web.File{}}
	for _, name := range order {
		p := render(name)
		b.pages = append(b.pages, p)
		b.files[name+".md"] = web.NewFile("text/markdown; charset=utf-8", p.Markdown)
	}
	for _, p := range b.pages {
		b.files[p.Name] = web.NewFile("text/html; charset=utf-8", shell(p, b.pages))
	}
	index := Page{Title: "Fabric Guild", Summary: "The pages of this server."}
	b.files[""] = web.NewFile("text/html; charset=utf-8", shell(index, b.pages))
	b.files["style.css"] = web.NewFile("text/css; charset=utf-8", read("style.css"))
	b.files["growth.svg"] = web.NewFile("image/svg+xml", read("growth.svg"))
	b.llms = web.NewFile("text/plain; charset=utf-8", list(b.pages))
	return b
})

func read(name string) []byte {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return b
}

// recipe is a line of a page that holds nothing but a link to a file in recipes/. The file takes its place,
// so that readers see the program and tests run the same file.
var recipe = regexp.MustCompile(`(?m)^\[[^\]\n]+\]\((recipes/[^)\n]+)\)$`)

// languages are the names that a fenced block has for a recipe.
var languages = map[string]string{".mjs": "js", ".py": "python", ".sh": "sh", ".html": "html"}

var markdown = goldmark.New(
	goldmark.WithExtensions(extension.Table),
	goldmark.WithParserOptions(parser.WithAutoHeadingID()),
)

// link is a link from one page to another as Markdown has it; HTML pages have no extension.
var link = regexp.MustCompile(`href="([a-z]+)\.md(#[^"]*)?"`)

func render(name string) Page {
	text := recipe.ReplaceAllStringFunc(string(read(name+".md")), func(line string) string {
		source := recipe.FindStringSubmatch(line)[1]
		return fmt.Sprintf("```%s\n%s```", languages[path.Ext(source)], read(source))
	})
	var html bytes.Buffer
	if err := markdown.Convert([]byte(text), &html); err != nil {
		panic(err)
	}
	title, rest, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n\n")
	summary, _, _ := strings.Cut(rest, "\n\n")
	body := link.ReplaceAllString(html.String(), `href="$1$2"`)
	return Page{
		Name: name, Title: title, Summary: strings.ReplaceAll(summary, "\n", " "), Markdown: []byte(text),
		Body: template.HTML(body), // our own text; goldmark leaves raw HTML out
	}
}

var shellTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Parse(string(read("shell.html"))))
})

// shell puts a page into the frame that all pages share.
func shell(p Page, all []Page) []byte {
	up := "" // the index is served at /docs, the others one level below
	if p.Name == "" {
		up = "docs/"
	}
	var b bytes.Buffer
	err := shellTemplate().Execute(&b, map[string]any{"Page": p, "All": all, "Up": up})
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

func list(all []Page) []byte {
	var b bytes.Buffer
	b.WriteString("# Fabric Guild\n\n> " + tagline + "\n\n## Pages\n\n")
	for _, p := range all {
		fmt.Fprintf(&b, "- [%s](docs/%s.md): %s\n", p.Title, p.Name, p.Summary)
	}
	b.WriteString("\n## Contract\n\n- [openapi.json](openapi.json): every request, answer, event and " +
		"error, in OpenAPI 3.1.\n")
	return b.Bytes()
}

const tagline = "A chat backend for people and AI agents: plain HTTP for every change, one Server-Sent " +
	"Events stream per user, and a queue of work per agent. To write an agent, begin with the page Agents."
