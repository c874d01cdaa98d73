// Package markdown turns the texts of messages into HTML that a page can insert as it is. Two well-kept
// libraries do the work: goldmark reads Markdown, and bluemonday keeps only the elements and attributes that
// are allowed here. Its functions are pure.
//
// HTML in a text is text: the parser knows none, so a reader sees <b> as its author wrote it. An image
// becomes a link, so that showing a message sends no request. A mention becomes
// <span class="mention" data-user-id="ID">.
package markdown

import (
	"bytes"
	"errors"
	"html"
	"net/url"
	"regexp"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	goldmarkhtml "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/util"
)

const (
	// maxNesting is how deep quotes, lists and emphasis may be nested. A deeper text is shown as it is.
	maxNesting = 24
	// maxGrowth bounds the HTML: bytes per byte of text, after some bytes that are free.
	maxGrowth  = 8
	freeGrowth = 4 << 10
)

var converter = goldmark.New(
	goldmark.WithParser(parser.NewParser(
		parser.WithBlockParsers(
			util.Prioritized(parser.NewThematicBreakParser(), 200),
			util.Prioritized(parser.NewListParser(), 300),
			util.Prioritized(parser.NewListItemParser(), 400),
			util.Prioritized(parser.NewCodeBlockParser(), 500),
			util.Prioritized(parser.NewATXHeadingParser(), 600),
			util.Prioritized(parser.NewFencedCodeBlockParser(), 700),
			util.Prioritized(parser.NewBlockquoteParser(), 800),
			util.Prioritized(parser.NewParagraphParser(), 1000),
		),
		parser.WithInlineParsers(
			util.Prioritized(mentionParser{}, 50),
			util.Prioritized(parser.NewCodeSpanParser(), 100),
			util.Prioritized(parser.NewLinkParser(), 200),
			util.Prioritized(parser.NewAutoLinkParser(), 300),
			util.Prioritized(parser.NewEmphasisParser(), 500),
			util.Prioritized(extension.NewStrikethroughParser(), 500),
			util.Prioritized(extension.NewLinkifyParser(
				extension.WithLinkifyAllowedProtocols([]string{"http:", "https:"})), 999),
		),
		parser.WithParagraphTransformers(
			util.Prioritized(smallTables{extension.NewTableParagraphTransformer()}, 200),
		),
		parser.WithASTTransformers(
			util.Prioritized(extension.NewTableASTTransformer(), 0),
			util.Prioritized(imagesToLinks{}, 100),
		),
	)),
	goldmark.WithRenderer(renderer.NewRenderer(renderer.WithNodeRenderers(
		util.Prioritized(goldmarkhtml.NewRenderer(goldmarkhtml.WithHardWraps()), 1000),
		util.Prioritized(extension.NewTableHTMLRenderer(
			extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)), 500),
		util.Prioritized(extension.NewStrikethroughHTMLRenderer(), 500),
		util.Prioritized(mentionRenderer{}, 500),
	))),
)

// policy allows what the converter makes, and nothing else. It is the second wall: the converter makes no
// other element from any text.
var policy = func() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "code", "em",
		"strong", "del", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td")
	p.AllowAttrs("start").Matching(regexp.MustCompile(`^[0-9]{1,9}$`)).OnElements("ol")
	p.AllowAttrs("align").Matching(regexp.MustCompile(`^(left|center|right)$`)).OnElements("th", "td")
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^language-[a-zA-Z0-9_+#.-]{1,32}$`)).OnElements("code")
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^mention$`)).OnElements("span")
	p.AllowAttrs("data-user-id").Matching(regexp.MustCompile(`^[A-Za-z0-9._@-]{1,128}$`)).OnElements("span")
	p.AllowAttrs("href").OnElements("a")
	// A browser takes http:path for a path of the page's own host.
	withHost := func(u *url.URL) bool { return u.Host != "" }
	p.AllowURLSchemeWithCustomPolicy("http", withHost)
	p.AllowURLSchemeWithCustomPolicy("https", withHost)
	p.AllowURLSchemes("mailto")
	p.RequireParseableURLs(true)
	p.AllowRelativeURLs(false)
	p.RequireNoFollowOnLinks(true)
	p.RequireNoReferrerOnLinks(true)
	p.AddTargetBlankToFullyQualifiedLinks(true) // and rel=noopener
	return p
}()

// HTML returns the HTML of a text. A text that is nested too deep, or that would grow too much, is shown as
// it is, without Markdown.
func HTML(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	source := []byte(text)
	tree := converter.Parser().Parse(newReader(source))
	if depth(tree) > maxNesting {
		return plain(text)
	}
	made := bounded{left: freeGrowth + maxGrowth*len(text)}
	if err := converter.Renderer().Render(&made, source, tree); err != nil {
		return plain(text)
	}
	return policy.SanitizeReader(&made.Buffer).String() // links get attributes: a few more times the size
}

// A bounded buffer refuses what goes beyond its bound.
type bounded struct {
	bytes.Buffer
	left int
}

var errFull = errors.New("the HTML is too large")

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errFull
	}
	return b.Buffer.Write(p)
}

// plain returns a text as one paragraph.
func plain(text string) string {
	lines := strings.ReplaceAll(html.EscapeString(strings.TrimSpace(text)), "\n", "<br>\n")
	return "<p>" + lines + "</p>\n"
}

// depth returns how deep a tree is. It does not recurse, because the tree may be very deep.
func depth(tree ast.Node) (deepest int) {
	level := 0
	for n := tree; n != nil; {
		deepest = max(deepest, level)
		if n.FirstChild() != nil {
			n = n.FirstChild()
			level++
			continue
		}
		for n != tree && n.NextSibling() == nil {
			n = n.Parent()
			level--
		}
		if n == tree {
			return deepest
		}
		n = n.NextSibling()
	}
	return deepest
}
