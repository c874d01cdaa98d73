package handlers_test

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// get fetches a page without following redirects. headers are names and values by turns.
func get(t *testing.T, method, url string, headers ...string) answer {
	t.Helper()
	n := &node{t: t, url: url, client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	a, err := (&user{n: n}).do(method, "", nil, headers...)
	if err != nil {
		t.Fatal(err)
	}
	n.client.CloseIdleConnections()
	return a
}

// Every part of the page is there, below a prefix too, and says how a browser is to treat it.
func TestPage(t *testing.T) {
	t.Parallel()
	const policy = "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types worker markdown"
	kinds := map[string]string{
		".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
	}
	linked := regexp.MustCompile(`(?:src|href)="([^"#]+)"|(?:from|import) '\./([^']+)'|import\('\./([^']+)'\)|URL\('([^'.]+\.js)'`)
	files, err := os.ReadDir("console/page")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{""} // each file must be reached from the page
	for _, file := range files {
		if file.Name() != "index.html" {
			want = append(want, "console/"+file.Name())
		}
	}
	for _, basePath := range []string{"", "/chat"} {
		n := start(t, setup{basePath: basePath})
		found := []string{""}
		for i := 0; i < len(found); i++ {
			a := get(t, "GET", n.url+"/"+found[i])
			name := "index.html"
			if found[i] != "" {
				name = found[i]
			}
			for header, want := range map[string]string{
				"Content-Type":            kinds[name[strings.LastIndex(name, "."):]],
				"Content-Security-Policy": policy,
				"X-Content-Type-Options":  "nosniff",
				"Referrer-Policy":         "no-referrer",
				"Cache-Control":           "no-cache",
			} {
				if got := a.header.Get(header); got != want || a.status != 200 {
					t.Errorf("%q: got status %d and %s %q, want 200 and %q", found[i], a.status, header, got, want)
				}
			}
			if again := get(t, "GET", n.url+"/"+found[i], "If-None-Match", a.header.Get("ETag")); again.status != 304 || len(again.body) != 0 {
				t.Errorf("%q: got %d and %d bytes for what has not changed, want 304", found[i], again.status, len(again.body))
			}
			if head := get(t, "HEAD", n.url+"/"+found[i]); head.status != 200 || len(head.body) != 0 || head.header.Get("ETag") != a.header.Get("ETag") {
				t.Errorf("%q: got %d with %d bytes for HEAD, want the headers alone", found[i], head.status, len(head.body))
			}
			for _, m := range linked.FindAllStringSubmatch(string(a.body), -1) {
				next := m[1]
				if next == "" {
					next = "console/" + m[2] + m[3] + m[4]
				}
				if !slices.Contains(found, next) {
					found = append(found, next)
				}
			}
		}
		slices.Sort(found)
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("the parts of the page (-want +got):\n%s", diff)
		}
	}
}

// The pages for users are served below a prefix too, with the headers of the console.
func TestDocs(t *testing.T) {
	t.Parallel()
	for _, basePath := range []string{"", "/chat"} {
		n := start(t, setup{basePath: basePath})
		for path, contentType := range map[string]string{
			"/docs":                "text/html; charset=utf-8",
			"/docs/stream":         "text/html; charset=utf-8",
			"/docs/stream.md":      "text/markdown; charset=utf-8",
			"/docs/style.css":      "text/css; charset=utf-8",
			"/llms.txt":            "text/plain; charset=utf-8",
			"/openclaw/plugin.tgz": "application/gzip",
		} {
			a := get(t, "GET", n.url+path)
			if a.status != 200 || a.header.Get("Content-Type") != contentType || a.header.Get("Content-Security-Policy") == "" {
				t.Errorf("%s: got %d, %q, want 200 and %q with a policy", path, a.status, a.header.Get("Content-Type"), contentType)
			}
			if again := get(t, "GET", n.url+path, "If-None-Match", a.header.Get("ETag")); again.status != 304 {
				t.Errorf("%s: got %d for what has not changed, want 304", path, again.status)
			}
		}
		if a := get(t, "GET", n.url+"/docs/none"); a.status != 404 || !strings.Contains(string(a.body), "not_found") {
			t.Errorf("got %v for a page that does not exist, want 404", a)
		}
	}
}

func TestPageIsNowhereElse(t *testing.T) {
	t.Parallel()
	n := start(t, setup{basePath: "/chat"})
	for _, path := range []string{"/console/", "/console/none.js", "/console/../console.go", "/index.html", "/console/page/app.js"} {
		if a := get(t, "GET", n.url+path); a.status != 404 || !strings.Contains(string(a.body), "not_found") {
			t.Errorf("%s: got %v, want 404", path, a)
		}
	}
	if a := get(t, "POST", n.url+"/"); a.status != 405 {
		t.Errorf("got %v for a POST of the page, want 405", a)
	}
	if a := get(t, "GET", n.url); a.status != 308 || a.header.Get("Location") != "/chat/" {
		t.Errorf("got %v and %q, want to be sent to /chat/", a, a.header.Get("Location"))
	}
}
