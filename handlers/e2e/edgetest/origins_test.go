package edgetest_test

import (
	"net/http"
	"strings"
	"testing"

	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/nodetest"
)

// What a browser says of the page that asks, and whether it is let in, to read and to change.
func TestPagesOfOtherOrigins(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{
		Edge: config.Edge{AllowOrigins: []string{"https://app.example", "http://localhost:3000"}},
	})
	alice := n.User("alice")
	own := n.URL
	for name, tt := range map[string]struct {
		headers []string
		let     bool
		cors    string // the origin that may read the answer
	}{
		"no browser":                  {nil, true, ""},
		"its own page":                {[]string{"Sec-Fetch-Site", "same-origin", "Origin", own}, true, ""},
		"its own page, no Origin":     {[]string{"Sec-Fetch-Site", "same-origin"}, true, ""},
		"its own page, older browser": {[]string{"Origin", own}, true, ""},
		"its user":                    {[]string{"Sec-Fetch-Site", "none"}, true, ""},
		"an allowed page": {
			[]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://app.example"},
			true,
			"https://app.example",
		},
		"another allowed page": {
			[]string{"Sec-Fetch-Site", "cross-site", "Origin", "http://localhost:3000"},
			true,
			"http://localhost:3000",
		},
		"an allowed page, older": {
			[]string{"Origin", "https://app.example"},
			true,
			"https://app.example",
		},
		"a foreign page": {
			[]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, false, "",
		},
		"a foreign page, no Origin": {[]string{"Sec-Fetch-Site", "cross-site"}, false, ""},
		"a foreign page, older":     {[]string{"Origin", "https://evil.example"}, false, ""},
		"a page of the same site": {
			[]string{"Sec-Fetch-Site", "same-site", "Origin", "https://other.example"}, false, "",
		},
		"a sandboxed page": {
			[]string{"Sec-Fetch-Site", "cross-site", "Origin", "null"},
			false, "",
		},
		"an allowed name, no TLS":     {[]string{"Origin", "http://app.example"}, false, ""},
		"an allowed name, other port": {[]string{"Origin", "https://app.example:8443"}, false, ""},
		"what begins like one":        {[]string{"Origin", "https://app.example.evil.example"}, false, ""},
		"what ends like one":          {[]string{"Origin", "https://evilapp.example"}, false, ""},
		"a list": {
			[]string{"Origin", "https://evil.example, https://app.example"},
			false, "",
		},
		"a frame in a foreign page": {[]string{
			"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode",
			"navigate", "Sec-Fetch-Dest", "iframe",
		}, false, ""},
		"a foreign page's image": {[]string{
			"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors",
			"Sec-Fetch-Dest", "image",
		}, false, ""},
		"something new in a browser": {
			[]string{"Sec-Fetch-Site", "cross-galaxy", "Origin", own},
			false, "",
		},
		"an allowed page, no Origin": {
			[]string{"Sec-Fetch-Site", "cross-site", "Referer", "https://app.example/"}, false, "",
		},
		"an allowed page in capitals": {[]string{"Origin", "HTTPS://APP.EXAMPLE"}, false, ""},
		"its own host, another scheme": {
			[]string{"Sec-Fetch-Site", "cross-site", "Origin", strings.Replace(own, "http", "https", 1)},
			false, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := func(a nodetest.Answer, err error, status int) {
				t.Helper()
				switch {
				case err != nil:
					t.Fatal(err)
				case !tt.let:
					nodetest.WantProblem(t, a, 403, "cross_origin")
				case a.Status != status:
					t.Errorf("got %v, want %d", a, status)
				}
				cors := map[string]string{
					"Access-Control-Allow-Origin":      tt.cors,
					"Access-Control-Allow-Credentials": "", "Access-Control-Expose-Headers": "",
				}
				if tt.cors != "" {
					cors["Access-Control-Allow-Credentials"] = "true"
					cors["Access-Control-Expose-Headers"] = "X-Request-Id, Retry-After, RateLimit, " +
						"RateLimit-Policy, Idempotency-Replayed"
				}
				for header, want := range cors {
					if got := a.Header.Get(header); got != want {
						t.Errorf("got %s %q, want %q", header, got, want)
					}
				}
				if got := a.Header.Get("Vary"); tt.let && got != "Origin" {
					t.Errorf("got Vary %q, want Origin", got)
				}
			}
			a, err := alice.Do("GET", "/api/me", nil, tt.headers...)
			want(a, err, 200)
			a, err = alice.Do("GET", "/none", nil, tt.headers...) // a page is to read problems too
			want(a, err, 404)
			a, err = alice.Do("POST", "/api/channels",
				nodetest.NewChannel{GuildID: "g1", Name: "x", XType: "general"}, tt.headers...)
			want(a, err, 201)
			for _, over := range nodetest.Transports[:2] {
				s, err := alice.Ask(over, "", tt.headers...)
				if err != nil {
					t.Fatal(err)
				}
				if status := s.Resp.StatusCode; (status == 200) != tt.let ||
					s.Resp.Header.Get("Access-Control-Allow-Origin") != tt.cors {
					t.Errorf("%s: got %d and %v for a stream, want it open: %v", over.Name, status,
						s.Resp.Header, tt.let)
				}
				s.Close()
			}
		})
	}
}

// A link on a foreign page leads its reader here; it changes nothing, and takes no cookie along.
func TestLinksFromOtherPages(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	link := []string{
		"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest",
		"document",
	}
	if a, err := alice.Do("GET", "/healthz", nil, link...); err != nil || a.Status != 200 {
		t.Errorf("got %v and error %v, want 200", a, err)
	}
	alice.Refused(t, 403, "cross_origin", "POST", "/api/channels",
		nodetest.NewChannel{GuildID: "g1", Name: "x", XType: "general"}, link...)
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	const app = "https://app.example"
	n := nodetest.Start(t, nodetest.Setup{Edge: config.Edge{AllowOrigins: []string{app}}, BasePath: "/chat"})
	nobody := n.As("", "")
	all, err := nodetest.Routes()
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range all {
		method, path, _ := strings.Cut(route, " ")
		ask := []string{
			"Access-Control-Request-Method", method, "Access-Control-Request-Headers",
			"authorization,last-event-id", "Sec-Fetch-Site", "cross-site",
		}
		a, err := nobody.Do("OPTIONS", path, nil, append(ask, "Origin", app)...)
		if err != nil || a.Status != 204 || len(a.Body) > 0 {
			t.Errorf("%s: got %v and error %v, want 204", route, a, err)
			continue
		}
		for header, want := range map[string]string{
			"Access-Control-Allow-Origin": app, "Access-Control-Allow-Credentials": "true", "Vary": "Origin",
			"Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, " +
				"X-Request-Id", "Access-Control-Max-Age": "600",
		} {
			if got := a.Header.Get(header); got != want {
				t.Errorf("%s: got %s %q, want %q", route, header, got, want)
			}
		}
		if got := a.Header.Get("Access-Control-Allow-Methods"); !strings.Contains(got+",", method+",") {
			t.Errorf("%s: got methods %q, want %s among them", route, got, method)
		}
		nobody.Refused(t, 403, "cross_origin", "OPTIONS", path, nil,
			append(ask, "Origin", "https://evil.example")...)
	}
	// it asks for nothing
	nobody.Refused(t, 405, "method_not_allowed", "OPTIONS", "/api/me", nil, "Origin", app)
}

// On somebody's own machine a page that has its own name lead there gets no answer.
func TestForeignHosts(t *testing.T) {
	t.Parallel()
	own, named := nodetest.Start(t, nodetest.Setup{Hosts: []string{}}),
		nodetest.Start(t, nodetest.Setup{Hosts: []string{"guild.example"}})
	anywhere := nodetest.Start(t, nodetest.Setup{})
	port := own.URL[strings.LastIndex(own.URL, ":"):]
	for host, here := range map[string]struct{ own, named bool }{
		"localhost": {true, true}, "localhost" + port: {true, true}, "LocalHost:1": {true, true},
		"127.0.0.1" + port: {true, true}, "127.0.0.2": {true, true},
		"localhost.": {true, true}, "LOCALHOST." + port: {true, true}, "localhost..": {false, false},
		"[::1]": {true, true}, "[::1]:80": {true, true}, "[::ffff:127.0.0.1]": {true, true},
		"guild.example": {false, true}, "GUILD.example:8080": {false, true}, "guild.example.": {false, false},
		"a.guild.example": {false, false},
		"evil.example":    {false, false}, "evil.example" + port: {false, false},
		"localhost.evil.example": {false, false}, "127.0.0.1.evil.example": {false, false},
		"10.0.0.1": {false, false}, "[fe80::1]": {false, false}, "0.0.0.0": {false, false},
		"127.1": {false, false}, "localhost:1:1": {false, false}, "[localhost]": {false, false},
	} {
		t.Run(host, func(t *testing.T) {
			for n, answers := range map[*nodetest.Node]bool{
				own: here.own, named: here.named,
				anywhere: true,
			} {
				for _, path := range []string{"/healthz", "/api/me", "/none"} {
					r, err := http.NewRequestWithContext(t.Context(), "GET", n.URL+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Host = host
					resp, err := n.Client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					_ = resp.Body.Close()
					if got := resp.StatusCode != http.StatusMisdirectedRequest; got != answers {
						t.Errorf("%s: got %d, want an answer: %v", path, resp.StatusCode, answers)
					}
				}
			}
		})
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{Hosts: []string{}})
	alice := n.User("alice")
	want := func(what string, h http.Header) {
		t.Helper()
		for header, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := h.Get(header); got != want {
				t.Errorf("%s: got %s %q, want %q", what, header, got, want)
			}
		}
	}
	for path, headers := range map[string][]string{
		"/api/me": nil, "/healthz": nil, "/none": nil, "/api/channels?limit=x": nil,
		"/api/sync": {"Sec-Fetch-Site", "cross-site"}, "/readyz": {"Authorization", ""},
	} {
		a, err := alice.Do("GET", path, nil, headers...)
		if err != nil {
			t.Fatal(err)
		}
		want(path, a.Header)
	}
	for _, over := range nodetest.Transports[:2] {
		s := alice.Open(t, over, "")
		want("a stream over "+over.Name, s.Resp.Header)
	}
}
