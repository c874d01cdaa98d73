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

// The secrets that must not appear in errors and logs.
const secretToken, secretName = "the-secret-token", "TheSecretName"

type fault struct {
	do     centertest.Fault
	reason string
}

// faults returns everything that the Center of g may do wrong with any call, and the reason that is counted
// for it. Where possible, the wrong answer repeats the secrets.
func (g *guild) faults(elsewhere string) map[string]fault {
	echo := secretToken + g.APIKey + secretName
	padded := fmt.Sprintf(`{"active":true,"userId":"mallory","email":"m@example.org",%q:"mallory"}%70000s`,
		secretName, " ")
	return map[string]fault{
		"status 500":                  {centertest.Status(500), "status"},
		"status 503":                  {centertest.Status(503), "status"},
		"status 403":                  {centertest.Status(403), "status"},
		"status 404":                  {centertest.Status(404), "status"},
		"temporary redirect":          {centertest.Redirect(307, elsewhere), "redirect"},
		"permanent redirect":          {centertest.Redirect(301, elsewhere), "redirect"},
		"redirect to a bad URL":       {centertest.Redirect(302, "http://%zz/"+echo), "redirect"},
		"redirect without a Location": {centertest.Status(304), "redirect"},
		"HTML":                        {centertest.Answer("<html>" + echo), "invalid"},
		"an empty body":               {centertest.Answer(""), "invalid"},
		"a list":                      {centertest.Answer("[]"), "invalid"},
		"a string":                    {centertest.Answer(`"` + echo + `"`), "invalid"},
		"two JSON values":             {centertest.Answer(`{"active":true,"userId":"mallory"}{}`), "invalid"},
		"truncated JSON":              {centertest.Answer(`{"active":true,"userId":"mallory"`), "invalid"},
		"an endless body":             {centertest.Oversized, "invalid"},
		"a body above the limit":      {centertest.Answer(padded), "invalid"},
		"truncated body": {centertest.Raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
			false), "unreachable"},
		"not HTTP": {centertest.Raw(echo+"\r\n\r\n", false), "unreachable"},
		"a bad header": {
			centertest.Raw("HTTP/1.1 200 OK\r\n"+echo+"\r\n\r\n", false),
			"unreachable",
		},
		"closed connection": {centertest.Raw("", false), "unreachable"},
		"unasked protocol switch": {
			centertest.Raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
				true), "status",
		},
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	elsewhere := centertest.New(t)
	elsewhere.AllowBadKeys() // the test below reports calls that arrive there
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
					t.Errorf("%s: got %d calls at the redirect target, want none", e, got)
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

// A call takes at most two seconds, whether Center sends nothing or never finishes its answer.
func TestSlow(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]func(g *guild){
		"no answer": func(g *guild) { g.Hang() },
		"unfinished answer": func(g *guild) {
			g.Break(centertest.Raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", true))
		},
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

// The client stops reading an answer as soon as it is larger than the limit.
func TestOversizedIsNotReadToItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.Break(centertest.Oversized)
		start := time.Now()
		g.wantFailures("invalid")
		if got := time.Since(start); got != 0 {
			t.Errorf("the failures took %v, want no time", got)
		}
	})
}

// wantFailures checks that every call fails, and that a failed introspection is not cached.
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
		g.t.Error("got a revoked stream, want it to stay open")
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
			g.t.Errorf("%s: got %v, want %d calls that all failed with reason %s", name, got, want, reason)
		}
	}
	for text, want := range map[string]int{
		"tokens cannot be checked": 1, "names could not be resolved": 1, "fetching the admin failed": 2,
		secretToken: 0, secretName: 0, g.APIKey: 0,
	} {
		if got := g.logs.count(text); got != want {
			g.t.Errorf("got %d times %q in the log, want %d:\n%s", got, text, want, g.logs)
		}
	}
}
