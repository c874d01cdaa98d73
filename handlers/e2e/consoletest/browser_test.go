package consoletest

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// A browser is a real Chromium.
type browser struct{ ctx context.Context }

// openBrowser starts Chromium, which ends with the test.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	// The shell is Chromium without the windows around the pages. It uses a third of the CPU time.
	path, err := exec.LookPath("chromium-headless-shell")
	if err != nil {
		path, err = exec.LookPath("chromium")
	}
	if err != nil {
		t.Skip("the console is tested in Chromium, which is not installed: " +
			"apt-get install chromium-headless-shell")
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(patience),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
	}
	for _, name := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update",
		"disable-sync", "disable-dev-shm-usage",
	} {
		options = append(options, chromedp.Flag(name, true))
	}
	options = append(options, chromedp.Flag("host-resolver-rules", "MAP guild.test 127.0.0.1"))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, quit := chromedp.NewContext(ctx)
	t.Cleanup(quit)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal("start Chromium:", err)
	}
	return &browser{ctx}
}

// A profile has its own cookies and workers.
type profile struct {
	t   *testing.T
	ctx context.Context
}

func (b *browser) profile(t *testing.T) *profile {
	t.Helper()
	ctx, stop := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(stop)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	return &profile{t, ctx}
}

// A page is one tab. What is said in its console, or in that of the worker, is an error of the test.
type page struct {
	t     *testing.T
	ctx   context.Context
	close func()

	mu       sync.Mutex
	refusals bool     // requests may fail: the browser tells of each
	said     []string // in the console
}

// page opens a tab.
func (f *profile) page() *page {
	f.t.Helper()
	p := f.attach()
	p.do(chromedp.EmulateViewport(1280, 800))
	return p
}

// worker attaches to the profile's shared worker, once it is there. There must be no other.
func (f *profile) worker() *page {
	f.t.Helper()
	var found []target.ID
	if !eventually(func() bool {
		all, err := chromedp.Targets(f.ctx)
		found = nil
		for _, info := range all {
			if info.Type == "shared_worker" &&
				info.BrowserContextID == chromedp.FromContext(f.ctx).BrowserContextID {
				found = append(found, info.TargetID)
			}
		}
		return err == nil && len(found) > 0
	}) {
		f.t.Fatal("got no shared worker")
	}
	if len(found) > 1 {
		f.t.Fatalf("got %d shared workers, want one", len(found))
	}
	return f.attach(chromedp.WithTargetID(found[0]))
}

func (f *profile) attach(options ...chromedp.ContextOption) *page {
	f.t.Helper()
	ctx, stop := chromedp.NewContext(f.ctx, options...)
	p := &page{t: f.t, ctx: ctx, close: sync.OnceFunc(stop)}
	messages := chromedp.Console(ctx)
	var listening sync.WaitGroup
	listening.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			p.note(m)
		}
	})
	f.t.Cleanup(func() {
		p.close()
		listening.Wait()
		for _, line := range p.said {
			f.t.Error("got in the browser's console, want nothing:", line)
		}
	})
	return p
}

func (p *page) note(m chromedp.ConsoleMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kind := string(m.Type); kind == "log" || kind == "info" || kind == "debug" ||
		m.Source == "network" && p.refusals {
		return
	}
	p.said = append(p.said, fmt.Sprintf("%s: %s (%s:%d)", m.Type, m, m.URL, m.Line))
}

// expectRefusals lets requests fail from now on.
func (p *page) expectRefusals() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusals = true
}

// forgive waits for what a test has caused in the console, and forgets it.
func (p *page) forgive(part string) {
	p.t.Helper()
	if !eventually(func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		before := len(p.said)
		p.said = slices.DeleteFunc(p.said, func(line string) bool { return strings.Contains(line, part) })
		return len(p.said) < before
	}) {
		p.t.Errorf("got nothing about %q in the browser's console", part)
	}
}

func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// evaluate has the page say what an expression is, and waits for it if it is a promise.
func evaluate[T any](p *page, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// eval is evaluate where nothing may go wrong.
func eval[T any](p *page, expression string) T {
	p.t.Helper()
	v, err := evaluate[T](p, expression)
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// await waits until an expression is true, or is a promise of something true. The page itself looks again
// and again for half a second, because being asked costs more than looking. A page that is just being left
// cannot say.
func (p *page) await(expression string) {
	p.t.Helper()
	const patiently = `(async () => {
		let problem
		for (let looks = 0; looks < 25; looks++) {
			problem = undefined
			try {
				if (await (%s)) return true
			} catch (e) {
				problem = e
			}
			await new Promise((resolve) => setTimeout(resolve, 20))
		}
		if (problem) throw problem
		return false
	})()`
	var err error
	if !eventually(func() (met bool) {
		met, err = evaluate[bool](p, fmt.Sprintf(patiently, expression))
		return met
	}) {
		p.t.Fatalf("timed out waiting for %s (%v); the page says:\n%s", expression, err,
			eval[string](p, `document.body.innerText.replace(/\s+/g, " ")`))
	}
}

// awaitText waits until an element that is shown has a text.
func (p *page) awaitText(selector, text string) {
	p.t.Helper()
	p.await(fmt.Sprintf("[...document.querySelectorAll(%q)].some((e) => e.checkVisibility() && "+
		"e.innerText.includes(%q))", selector, text))
}

// click clicks an element with the mouse, once it is shown, nothing lies over it and it has come to rest.
func (p *page) click(selector string) {
	p.t.Helper()
	var at []float64
	var err error
	if !eventually(func() bool {
		at, err = evaluate[[]float64](p, fmt.Sprintf(`(async () => {
			const e = document.querySelector(%q)
			if (!e?.checkVisibility()) return []
			e.scrollIntoView({ block: "nearest" })
			const before = e.getBoundingClientRect()
			await new Promise((resolve) => setTimeout(resolve, 30))
			const r = e.getBoundingClientRect()
			const [x, y] = [r.x + r.width / 2, r.y + r.height / 2]
			return r.x === before.x && r.y === before.y && e.contains(document.elementFromPoint(x, y)) ? [x,
				y] : []
		})()`, selector))
		return len(at) == 2
	}) {
		p.t.Fatalf("got nothing to click at %s (%v)", selector, err)
	}
	p.do(chromedp.MouseClickXY(at[0], at[1]))
}

// write types a text into an element.
func (p *page) write(selector, text string) {
	p.t.Helper()
	p.do(chromedp.SendKeys(chromedp.CSS(selector), text, chromedp.NodeVisible))
}

// paste puts a text into an element at once. To type a token takes a key event for each of its characters.
func (p *page) paste(selector, text string) {
	p.t.Helper()
	p.do(chromedp.Focus(chromedp.CSS(selector), chromedp.NodeVisible))
	if _, err := chromedp.Call(p.ctx, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
		p.t.Fatal(err)
	}
}

// enter presses Enter in whatever has the focus, as one key; chromedp would type it as well.
func (p *page) enter() {
	p.t.Helper()
	key := input.DispatchKeyEventParams{Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13}
	down, up := key, key
	down.Type, down.Text, up.Type = input.DispatchKeyEventTypeKeyDown, "\r", input.DispatchKeyEventTypeKeyUp
	for _, event := range []input.DispatchKeyEventParams{down, up} {
		if _, err := chromedp.Call(p.ctx, input.DispatchKeyEvent, event); err != nil {
			p.t.Fatal(err)
		}
	}
}

// clear empties an element that is written into.
func (p *page) clear(selector string) {
	p.t.Helper()
	eval[string](p, fmt.Sprintf("document.querySelector(%q).value = ''", selector))
}

// press types keys into whatever has the focus.
func (p *page) press(keys string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys))
}

// allowCopying lets scripts write to the clipboard after a click. The shell asks, and nobody would answer.
func (p *page) allowCopying() {
	p.t.Helper()
	if _, err := chromedp.CallBrowser(p.ctx, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
		Permission:       &cdpbrowser.PermissionDescriptor{Name: "clipboard-write"},
		Setting:          cdpbrowser.PermissionSettingGranted,
		BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
	}); err != nil {
		p.t.Fatal(err)
	}
}

// theme has the page be shown light or dark.
func (p *page) theme(scheme string) {
	p.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia,
		emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		p.t.Fatal(err)
	}
}

// preload has a script run in each document that the page opens, before all of that document's own.
func (p *page) preload(script string) {
	p.t.Helper()
	if _, err := chromedp.Call(p.ctx, cdppage.AddScriptToEvaluateOnNewDocument,
		cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: script}); err != nil {
		p.t.Fatal(err)
	}
}

// visit opens the console at a URL.
func (p *page) visit(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url + "/"))
}

// signIn opens the console at a URL and signs a user in.
func (p *page) signIn(url string, u *user) {
	p.t.Helper()
	p.visit(url)
	p.paste("#token", u.token)
	p.enter()
	p.awaitText("#me", u.id)
	p.awaitText("#stream-state", "Live")
}

// open opens a channel by its link.
func (p *page) open(channel string) {
	p.t.Helper()
	p.click(fmt.Sprintf(`#channels a[href="#/%s"]`, channel))
	p.await(fmt.Sprintf(`document.querySelector('#channels a[href="#/%s"][aria-current]') &&
		!document.querySelector("#composer").hidden`, channel)) // before, it may be that of another channel
}

// messages are the texts that the page shows, in order.
func (p *page) messages() []string {
	p.t.Helper()
	all := eval[string](p,
		`[...document.querySelectorAll("#messages .text")].map((e) => e.innerText).join("\n")`)
	if all == "" {
		return []string{}
	}
	return strings.Split(all, "\n")
}
