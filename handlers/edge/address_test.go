package edge

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func request(remote string, headers ...string) *http.Request {
	r := &http.Request{RemoteAddr: remote, Header: http.Header{}}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

var testProxies = Proxies{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("2001:db8:1::/48"),
}

// The last address that no trusted proxy has.
func TestClientBehindProxies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		remote    string
		forwarded []string // values of as many headers
		want      string
	}{
		{"203.0.113.1:5000", nil, "203.0.113.1"},
		{"203.0.113.1:5000", []string{"198.51.100.1"}, "203.0.113.1"},
		{"10.0.0.1:5000", nil, "10.0.0.1"},
		{"10.0.0.1:5000", []string{""}, "10.0.0.1"},
		{"10.0.0.1:5000", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:5000", []string{"198.51.100.1, 203.0.113.1"}, "203.0.113.1"},
		{"10.0.0.1:5000", []string{"198.51.100.1, 10.2.3.4"}, "198.51.100.1"},
		{"10.0.0.1:5000", []string{"198.51.100.1", "203.0.113.1", "10.2.3.4"}, "203.0.113.1"},
		{"10.0.0.1:5000", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"10.0.0.1:5000", []string{"198.51.100.1, garbage"}, "10.0.0.1"},
		{"10.0.0.1:5000", []string{"198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.1:5000", []string{"198.51.100.1:1234"}, "198.51.100.1"},
		{"10.0.0.1:5000", []string{"[2001:db8::5]:1234"}, "2001:db8::5"},
		{"10.0.0.1:5000", []string{"2001:db8::5"}, "2001:db8::5"},
		{"10.0.0.1:5000", []string{"2001:db8::5, [2001:db8:1::9]"}, "2001:db8::5"},
		{"[::1]:5000", []string{"198.51.100.1"}, "198.51.100.1"},
		{"[::ffff:10.0.0.1]:5000", []string{"198.51.100.1"}, "198.51.100.1"},
		{"[fe80::1%eth0]:5000", nil, "fe80::1"},
		{"10.0.0.1:5000", []string{"fe80::1%a, 10.0.0.2"}, "fe80::1"},
		{"@", []string{"198.51.100.1"}, "invalid IP"},
	} {
		r := request(tt.remote)
		for _, v := range tt.forwarded {
			r.Header.Add("X-Forwarded-For", v)
		}
		if got := testProxies.Client(r).String(); got != tt.want {
			t.Errorf("%s, %q: got %s, want %s", tt.remote, tt.forwarded, got, tt.want)
		}
	}
}

func TestOverTLS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		remote, proto string
		tls, want     bool
	}{
		{"203.0.113.1:5000", "", false, false},
		{"203.0.113.1:5000", "https", false, false},
		{"203.0.113.1:5000", "http", true, true},
		{"10.0.0.1:5000", "https", false, true},
		{"10.0.0.1:5000", "http", false, false},
		{"10.0.0.1:5000", "", false, false},
	} {
		r := request(tt.remote, "X-Forwarded-Proto", tt.proto)
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		}
		if got := testProxies.OverTLS(r); got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
}

// Whatever the header says: an untrusted peer is who they are, and behind a trusted one the client is an
// address in the header, or one of the proxies.
func FuzzForwardedFor(f *testing.F) {
	for _, seed := range []string{
		"", "198.51.100.1", "a, 198.51.100.1,10.0.0.2", "[::1]:1, ::ffff:10.0.0.1",
		",,,", "1.2.3.4%x", "fe80::1%\x00", strings.Repeat("1.1.1.1,", 1000), "10.0.0.1:99999",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if got := testProxies.Client(
			request("203.0.113.1:5000", "X-Forwarded-For", header),
		); got.String() != "203.0.113.1" {
			t.Errorf("got %s, want who connects", got)
		}
		got := testProxies.Client(request("10.0.0.1:5000", "X-Forwarded-For", header))
		if !got.IsValid() || got.Is4In6() || got.Zone() != "" {
			t.Fatalf("got %v, want a plain address", got)
		}
		if testProxies.trust(got) {
			return
		}
		for hop := range strings.SplitSeq(header, ",") {
			if parseAddress(strings.TrimSpace(hop)) == got {
				return
			}
		}
		t.Errorf("got %v, which %q does not have", got, header)
	})
}

// The names that get through lead to this machine, or have been allowed.
func FuzzHost(f *testing.F) {
	for _, seed := range []string{
		"", "localhost", "127.0.0.1:80", "[::1]:80", "guild.example",
		"evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "::1", "::1:", "::1:80", "[::1",
		"localhost:", "local\u017fhost", "LOCALHOST:x", "localhost.", "localhost..", "127.0.0.1.",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !isOwnHost(host, []string{"guild.example"}) || host == "" {
			return
		}
		name := strings.ToLower(host)
		if i := strings.LastIndex(name, ":"); i >= 0 && !strings.Contains(name[i:], "]") &&
			(strings.HasPrefix(name, "[") || strings.Count(name, ":") == 1) {
			name = name[:i]
		}
		// A dot at the end does not change the name (RFC 1034 §3.1).
		name = strings.TrimSuffix(strings.Trim(name, "[]"), ".")
		if name == "localhost" || name == "guild.example" {
			return
		}
		if a, err := netip.ParseAddr(name); err != nil || !a.Unmap().IsLoopback() {
			t.Errorf("got %q let in as %q", host, name)
		}
	})
}

// Only an origin that is allowed, letter by letter, gets to read an answer.
func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{
		"", "null", "*", "https://app.example", "https://app.example.evil",
		"HTTPS://app.example", "https://app.example/", "https://guild.example", "https://guild.example@evil",
		"//guild.example", "\x00",
	} {
		f.Add(seed, "")
		f.Add(seed, "cross-site")
		f.Add(seed, "same-origin")
	}
	let := OfOrigins([]string{"https://app.example"},
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	f.Fuzz(func(t *testing.T, origin, site string) {
		r := request("203.0.113.1:5000", "Origin", origin, "Sec-Fetch-Site", site)
		r.Method, r.Host = http.MethodGet, "guild.example"
		w := httptest.NewRecorder()
		let.ServeHTTP(w, r)
		cors := w.Header().Get("Access-Control-Allow-Origin")
		if cors != "" && (cors != "https://app.example" || origin != cors) {
			t.Errorf("got CORS for %q, asked by %q", cors, origin)
		}
		u, err := url.Parse(origin)
		own := site == "same-origin" || site == "none" ||
			site == "" && (origin == "" || err == nil && u.Host == r.Host)
		if w.Code == http.StatusOK && !own && cors == "" {
			t.Errorf("got %q, %q let in", origin, site)
		}
	})
}
