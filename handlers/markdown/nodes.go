package markdown

import (
	"bytes"

	"fabric-guild/handlers/chat"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

func newReader(source []byte) text.Reader { return text.NewReader(source) }

// A mention is <@ID> or <@user.id:ID> in a text.
type mention struct {
	ast.BaseInline
	user string
}

var kindMention = ast.NewNodeKind("Mention")

// Kind implements ast.Node.
func (m *mention) Kind() ast.NodeKind { return kindMention }

// Dump implements ast.Node.
func (m *mention) Dump(source []byte, level int) {
	ast.DumpHelper(m, source, level, map[string]string{"user": m.user}, nil)
}

// mentionParser implements parser.InlineParser.
type mentionParser struct{}

// Trigger implements parser.InlineParser.
func (mentionParser) Trigger() []byte { return []byte{'<'} }

// Parse implements parser.InlineParser.
func (mentionParser) Parse(_ ast.Node, block text.Reader, _ parser.Context) ast.Node {
	line, _ := block.PeekLine()
	if !bytes.HasPrefix(line, []byte("<@")) {
		return nil
	}
	end := bytes.IndexByte(line, '>')
	if end < 0 {
		return nil
	}
	user := string(bytes.TrimPrefix(line[len("<@"):end], []byte("user.id:")))
	if !chat.ValidID(user) {
		return nil
	}
	block.Advance(end + 1)
	return &mention{user: user}
}

// mentionRenderer implements renderer.NodeRenderer.
type mentionRenderer struct{}

// RegisterFuncs implements renderer.NodeRenderer.
func (mentionRenderer) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(kindMention, renderMention)
}

func renderMention(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		user := n.(*mention).user // no character of an id needs an escape
		_, _ = w.WriteString(`<span class="mention" data-user-id="` + user + `">@` + user + `</span>`)
	}
	return ast.WalkContinue, nil
}

// imagesToLinks implements parser.ASTTransformer. It makes links of images: showing a message must not send a
// request. Inside a link only the text of the image stays, because links cannot be nested.
type imagesToLinks struct{}

// Transform implements parser.ASTTransformer.
func (imagesToLinks) Transform(tree *ast.Document, reader text.Reader, _ parser.Context) {
	var images []*ast.Image
	_ = ast.Walk(tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if image, ok := n.(*ast.Image); ok && entering {
			images = append(images, image)
		}
		return ast.WalkContinue, nil
	})
	for _, image := range images {
		parent := image.Parent()
		if insideLink(image) {
			for child := image.FirstChild(); child != nil; child = image.FirstChild() {
				parent.InsertBefore(parent, image, child)
			}
			parent.RemoveChild(parent, image)
			continue
		}
		link := ast.NewLink()
		link.Destination = image.Destination
		for child := image.FirstChild(); child != nil; child = image.FirstChild() {
			link.AppendChild(link, child)
		}
		if link.FirstChild() == nil {
			address := ast.NewString(image.Destination)
			address.SetRaw(true)
			link.AppendChild(link, address)
		}
		parent.ReplaceChild(parent, image, link)
	}
}

func insideLink(n ast.Node) bool {
	for n = n.Parent(); n != nil; n = n.Parent() {
		switch n.Kind() {
		case ast.KindLink, ast.KindImage:
			return true
		}
	}
	return false
}

// maxCells bounds a table: the parser fills each row up to the width of the head, so a few kilobytes could
// make millions of cells.
const maxCells = 2000

// smallTables makes tables of paragraphs. A paragraph that would make too large a table stays one.
type smallTables struct{ parser.ParagraphTransformer }

// Transform implements parser.ParagraphTransformer.
func (t smallTables) Transform(p *ast.Paragraph, reader text.Reader, c parser.Context) {
	lines := p.Lines()
	widest := 0
	for i := range lines.Len() {
		line := lines.At(i)
		widest = max(widest, bytes.Count(line.Value(reader.Source()), []byte("|"))+1)
	}
	if lines.Len()*widest <= maxCells {
		t.ParagraphTransformer.Transform(p, reader, c)
	}
}
