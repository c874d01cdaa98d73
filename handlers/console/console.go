// Package console is the page at /: sign in, talk, and watch the stream at work. It is plain HTML, CSS and
// JavaScript modules in the folder page, embedded as they are.
package console

import (
	"embed"
	"path"

	"fabric-guild/handlers/web"
)

//go:embed page
var page embed.FS

// contentTypes are the kinds of files that the page is made of.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Policy is the Content-Security-Policy of all files: nothing but the page's own parts, nothing inline, no
// frame around it. With Trusted Types the browser itself sees to it that no text is made HTML. One policy is
// for the address of the shared worker, the other for prose.js, which parses the HTML of a message in a
// document of its own and builds what it shows from a list of elements.
const Policy = "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src " +
	"'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; " +
	"trusted-types worker markdown"

// Open returns a file by its name, such as app.js. ok is false when there is none.
func Open(name string) (f web.File, ok bool) {
	body, err := page.ReadFile("page/" + name)
	if err != nil {
		return web.File{}, false
	}
	return web.NewFile(contentTypes[path.Ext(name)], body), true
}
