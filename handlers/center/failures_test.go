package center_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"
)

// What a test looks for in errors and logs.
const secretToken, secretName = "the-secret-token", "TheSecretName"

type fault struct {
	do     centertest.Fault
	reason string
}

// faults are what g's Center may do wrong with any call, and the reason that is counted. Where it can, it says
// again what it was told.
func (g *guild) faults(elsewhere string) map[string]fault {
	echo := secretToken + g.APIKey + secretName
	padded := fmt.Sprintf(`{"active":true,"userId":"mallory","email":"m@example.org",%q:"mallory"}%70000s`, secretName, " ")
	return map[string]fault{
		"error":        {centertest.Status(500), "status"},
		"unavailable":  {centertest.Status(503), "status"},
		"refuses":      {centertest.Status(403), "status"},
		"is elsewhere": {centertest.Status(404), "status"},
		"redirects":    {centertest.Redirect(307, elsewhere), "redirect"},
		"moved":        {centertest.Redirect(301, elsewhere), "redirect"},
		"leads astray": {centertest.Redirect(302, "http://%zz/"+echo), "redirect"},
		"no place":     {centertest.Status(304), "redirect"},
		"garbage":      {centertest.Answer("<html>" + echo), "invalid"},
		"nothing":      {centertest.Answer(""), "invalid"},
		"a list":       {centertest.Answer("[]"), "invalid"},
		"a string":     {centertest.Answer(`"` + echo + `"`), "invalid"},
		"two answers":  {centertest.Answer(`{"active":true,"userId":"mallory"}{}`), "invalid"},
		"cut JSON":     {centertest.Answer(`{"active":true,"userId":"mallory"`), "invalid"},
		"oversized":    {centertest.Oversized, "invalid"},
		"padded":       {centertest.Answer(padded), "invalid"},
		"cut":          {centertest.Raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", false), "unreachable"},
		"no HTTP":      {centertest.Raw(echo+"\r\n\r\n", false), "unreachable"},
		"a bad header": {centertest.Raw("HTTP/1.1 200 OK\r\n"+echo+"\r\n\r\n", false), "unreachable"},
		"hangs up":     {centertest.Raw("", false), "unreachable"},
		"takes over":   {centertest.Raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", true), "status"},
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	elsewhere := centertest.New(t)
	elsewhere.AllowBadKeys() // a key that came there is told by its calls
	elsewhere.SetToken(secretToken, centertest.Token{UserID: "mallory"})
	for name := range onSocket(t).faults(elsewhere.URL) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := onSocket(t)
			f := g.faults(elsewhere.URL)[name]
			g.Break(f.do)
			g.wantFailures(f.reason)
			for _, e := range centertest.Endpoints {
				if got := elsewhere.Calls(e); got != 0 {
					t.Errorf("%s: got %d redirected calls, want none", e, got)
				}
			}
		})
	}
}

func TestDown(t *testing.T) {
	t.Parallel()
	g := onSocket(t)
	g.Close()
	g.wantFailures("unreachable")
	if got := g.logs.String(); !strings.Contains(got, "connection refused") {
		t.Errorf("got %q, want the cause", got)
	}
}

// A Center that hangs, and one whose answer does not end, cost two seconds a call.
func TestSlow(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]func(g *guild){
		"hangs":   func(g *guild) { g.Hang() },
		"trickle": func(g *guild) { g.Break(centertest.Raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", true)) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, g *guild) {
				slow(g)
				start := time.Now()
				g.wantFailures("timeout")
				if got, want := time.Since(start), 6*2*time.Second; got != want {
					t.Errorf("got %v for six calls, want %v", got, want)
				}
			})
		})
	}
}

// Of an answer that is too large, no more is waited for than shows that.
func TestOversizedIsNotReadToItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.Break(centertest.Oversized)
		start := time.Now()
		g.wantFailures("invalid")
		if got := time.Since(start); got != 0 {
			t.Errorf("got the failures after %v, want them at once", got)
		}
	})
}

// wantFailures makes each of the calls fail, and the introspection again and again, since a failure is not
// kept.
func (g *guild) wantFailures(reason string) {
	g.t.Helper()
	was := center.Identity{UserID: "alice"}
	for range 2 {
		_, err := g.client.Introspect(g.t.Context(), netip.Addr{}, secretToken)
		if !errors.Is(err, center.ErrUnavailable) {
			g.t.Errorf("got %v, want %v", err, center.ErrUnavailable)
		} else {
			g.logger.Info(err.Error())
		}
	}
	if g.client.Recheck(g.t.Context(), secretToken, was) {
		g.t.Error("got a revoked stream, want it to stay")
	}
	if got := g.client.ResolveNames(g.t.Context(), []string{secretName}); got == nil || len(got) != 0 {
		g.t.Errorf("got %v, want an empty map", got)
	}
	admins := g.admins()
	if _, after, changed := admins.Refresh(g.t.Context()); after != nil || changed {
		g.t.Errorf("got %v, changed %v, want no admin, as before", after, changed)
	}
	if admin, filled := admins.Snapshot(); admin != nil || !filled {
		g.t.Errorf("got %v, %v, want no admin, filled", admin, filled)
	}
	for name, want := range map[string]int64{"introspect": 3, "resolve_names": 1, "admin_email": 2} {
		got := g.client.Counts()[name]
		if got.Calls != want || got.Failures[reason] != want {
			g.t.Errorf("%s: got %v, want %d calls, all failed by %s", name, got, want, reason)
		}
	}
	for text, want := range map[string]int{
		"tokens cannot be checked": 1, "names stay": 1, "the admin is not known": 2,
		secretToken: 0, secretName: 0, g.APIKey: 0,
	} {
		if got := g.logs.count(text); got != want {
			g.t.Errorf("got %d times %q in the log, want %d:\n%s", got, text, want, g.logs)
		}
	}
}
