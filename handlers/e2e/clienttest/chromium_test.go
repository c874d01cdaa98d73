package clienttest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"fabric-guild/handlers/e2e/guildtest"
)

// pageScript is the script of a web page. It exchanges the token for a cookie. An EventSource gives up after
// any answer but 200. Then the script opens another one.
const pageScript = `(async () => {
	await fetch('api/session', { method: 'POST', headers: { Authorization: 'Bearer %s' } })
	let id = ''
	function open() {
		const source = new EventSource('api/stream?lastEventId=' + id)
		for (const type of ['stream.ready', 'stream.reset', 'stream.live', 'message.created']) {
			source.addEventListener(type, (e) => {
				id = e.lastEventId
				console.log(JSON.stringify({ event: type, id, data: JSON.parse(e.data) }))
			})
		}
		source.onerror = () => {
			if (source.readyState === source.CLOSED) setTimeout(open, 1000)
		}
	}
	open()
})()`

// chromium opens a page in a real Chromium. Chromium ends with the test.
func chromium(t *testing.T, stream, token string, hear func(event)) {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(guildtest.Patience),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
	}
	for _, name := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync",
		"disable-dev-shm-usage",
	} {
		options = append(options, chromedp.Flag(name, true))
	}
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, quit := chromedp.NewContext(ctx)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal("start Chromium: ", err)
	}
	messages := chromedp.Console(ctx)
	var listening sync.WaitGroup
	t.Cleanup(listening.Wait)
	t.Cleanup(quit) // runs before Wait
	listening.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type != chromedp.ConsoleLog {
				// Chromium complains about the MIME type when a cut is inside the headers.
				if m.Source != "network" && !strings.Contains(m.Text, "MIME type") {
					t.Errorf("Chromium: %s", m)
				}
				continue
			}
			var e event
			if err := json.Unmarshal([]byte(m.Text), &e); err != nil {
				t.Errorf("Chromium: %v in %q", err, m.Text)
			}
			hear(e)
		}
	})
	at, err := url.Parse(stream)
	if err != nil {
		t.Fatal(err)
	}
	// The script needs a page of the same origin, and /healthz has no scripts of its own. The CSP would
	// forbid our script, so bypass it.
	if _, err := chromedp.Call(ctx, cdppage.SetBypassCSP,
		cdppage.SetBypassCSPParams{Enabled: true}); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(at.Scheme+"://"+at.Host+"/healthz")); err != nil {
		t.Fatal("open a page: ", err)
	}
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[any](fmt.Sprintf(pageScript, token))); err != nil {
		t.Fatal("follow the stream in the page: ", err)
	}
}
