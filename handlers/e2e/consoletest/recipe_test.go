package consoletest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// servePage serves the page for browsers. Before the page is visited, api must be set to the server's URL.
func servePage(t *testing.T) (web *httptest.Server, api *string) {
	t.Helper()
	recipe, err := os.ReadFile("../../docs/recipes/page.html")
	if err != nil {
		t.Fatal(err)
	}
	api = new(string)
	web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, strings.Replace(string(recipe), "http://127.0.0.1:8080", *api, 1))
	}))
	t.Cleanup(web.Close)
	return web, api
}

// The page for browsers says so if nobody can sign in, because the server is away or does not allow the page.
func TestRecipeForAPageWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	b := openBrowser(t)
	web, api := servePage(t)
	n := start(t, "", "http://another.example")
	*api = newProxy(t, n).url
	p := b.profile(t).page()
	p.expectRefusals()
	p.visit(web.URL)
	p.write("input", n.user("bob").token)
	p.enter()
	p.awaitText("li", "No answer: the server is not there, or does not allow the origin of this page.")
	p.forgive("blocked by CORS policy")
}

// The page for browsers, from another origin, shows each message once: over connections that break, and
// answers of a proxy at which EventSource gives up.
func TestRecipeForAPage(t *testing.T) {
	t.Parallel()
	b := openBrowser(t)
	web, api := servePage(t)
	n := start(t, "", web.URL)
	way := newProxy(t, n)
	*api = way.url
	alice, bob := n.user("alice"), n.user("bob")
	ops := alice.general(t, "ops", "bob").Channel.ID
	var want []string
	p := b.profile(t).page()
	post := func(count int) {
		for range count {
			content := fmt.Sprintf("message %d, <b>ümläut</b>", len(want))
			alice.post(t, ops, content)
			want = append(want, "alice: "+content)
		}
	}
	wantShown := func() {
		t.Helper()
		p.awaitText("li:last-child", want[len(want)-1])
		if diff := cmp.Diff(want,
			eval[[]string](p, "[...document.querySelectorAll('li')].map((e) => e.textContent)")); diff != "" {
			t.Errorf("page (-want +got):\n%s", diff)
		}
	}
	opened := func() int { _, opened, _ := way.counts(); return opened }
	p.expectRefusals()
	p.visit(web.URL)
	p.write("input", bob.token)
	p.enter()
	if !eventually(func() bool { return opened() == 1 }) {
		t.Fatal("got no stream")
	}
	n.settle(t)
	post(2)
	wantShown()
	for range 2 {
		way.cut()
		post(2)
		wantShown()
	}
	way.fail(true)
	post(2)
	if !eventually(func() bool { _, _, refused := way.counts(); return refused >= 2 }) {
		t.Error("got no second try")
	}
	way.fail(false)
	wantShown()
	p.forgive("blocked by CORS policy") // so a browser tells of the 502

	// The session ends while the page cannot hear of it.
	if err := n.tokens.Rotate(); err != nil {
		t.Fatal(err)
	}
	way.cut()
	p.awaitText("li:last-child", "Sign in again.")
}
