package edgetest_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/handlers/e2e/nodetest"
)

// Every part of the page is there, below a prefix too, and says how a browser is to treat it.
func TestPage(t *testing.T) {
	t.Parallel()
	const policy = "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src " +
		"'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; " +
		"trusted-types worker markdown"
	kinds := map[string]string{
		".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
		".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
	}
	linked := regexp.MustCompile(
		`(?:src|href)="([^"#]+)"|(?:from|import) '\./([^']+)'|import\('\./([^']+)'\)|URL\('([^'.]+\.js)'`,
	)
	files, err := os.ReadDir("../../console/page")
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
		n := nodetest.Start(t, nodetest.Setup{BasePath: basePath})
		found := []string{""}
		for i := 0; i < len(found); i++ {
			a := nodetest.Fetch(t, "GET", n.URL+"/"+found[i])
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
				if got := a.Header.Get(header); got != want || a.Status != 200 {
					t.Errorf("%q: got status %d and %s %q, want 200 and %q", found[i], a.Status,
						header, got, want)
				}
			}
			if again := nodetest.Fetch(t, "GET", n.URL+"/"+found[i], "If-None-Match",
				a.Header.Get("ETag")); again.Status != 304 || len(again.Body) != 0 {
				t.Errorf("%q: got %d and %d bytes for what has not changed, want 304", found[i], again.Status,
					len(again.Body))
			}
			if head := nodetest.Fetch(t, "HEAD", n.URL+"/"+found[i]); head.Status != 200 ||
				len(head.Body) != 0 || head.Header.Get("ETag") != a.Header.Get("ETag") {
				t.Errorf("%q: got %d with %d bytes for HEAD, want the headers alone", found[i], head.Status,
					len(head.Body))
			}
			for _, m := range linked.FindAllStringSubmatch(string(a.Body), -1) {
				next := m[1]
				if next == "" {
					next = "console/" + m[2] + m[3] + m[4]
				}
				if next == "docs" {
					continue // other pages, with headers of their own
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
		n := nodetest.Start(t, nodetest.Setup{BasePath: basePath})
		for path, contentType := range map[string]string{
			"/docs":                "text/html; charset=utf-8",
			"/docs/stream":         "text/html; charset=utf-8",
			"/docs/stream.md":      "text/markdown; charset=utf-8",
			"/docs/style.css":      "text/css; charset=utf-8",
			"/llms.txt":            "text/plain; charset=utf-8",
			"/openclaw/plugin.tgz": "application/gzip",
		} {
			a := nodetest.Fetch(t, "GET", n.URL+path)
			if a.Status != 200 || a.Header.Get("Content-Type") != contentType ||
				a.Header.Get("Content-Security-Policy") == "" {
				t.Errorf("%s: got %d, %q, want 200 and %q with a policy", path, a.Status,
					a.Header.Get("Content-Type"), contentType)
			}
			if again := nodetest.Fetch(t, "GET", n.URL+path, "If-None-Match",
				a.Header.Get("ETag")); again.Status != 304 {
				t.Errorf("%s: got %d for what has not changed, want 304", path, again.Status)
			}
		}
		if a := nodetest.Fetch(t, "GET", n.URL+"/docs/none"); a.Status != 404 ||
			!strings.Contains(string(a.Body), "not_found") {
			t.Errorf("got %v for a page that does not exist, want 404", a)
		}
	}
}

func TestPageIsNowhereElse(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{BasePath: "/chat"})
	for _, path := range []string{
		"/console/", "/console/none.js", "/console/../console.go", "/index.html",
		"/console/page/app.js",
	} {
		if a := nodetest.Fetch(t, "GET", n.URL+path); a.Status != 404 ||
			!strings.Contains(string(a.Body), "not_found") {
			t.Errorf("%s: got %v, want 404", path, a)
		}
	}
	if a := nodetest.Fetch(t, "POST", n.URL+"/"); a.Status != 405 {
		t.Errorf("got %v for a POST of the page, want 405", a)
	}
	if a := nodetest.Fetch(t, "GET", n.URL); a.Status != 308 || a.Header.Get("Location") != "/chat/" {
		t.Errorf("got %v and %q, want to be sent to /chat/", a, a.Header.Get("Location"))
	}
}
