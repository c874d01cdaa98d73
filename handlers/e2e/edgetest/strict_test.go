package edgetest_test

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"

	"fabric-guild/handlers/e2e/nodetest"
)

// with sends a request with these headers besides the token, as they are.
func with(t *testing.T, u *nodetest.User, method, path, content string, header http.Header) nodetest.Answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, u.Node.URL+path, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+u.Token)
	maps.Copy(r.Header, header)
	a, err := u.Send(r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Two different values of a header that decides something are refused: nobody knows which one a proxy went
// by.
func contradictingHeaders(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	ops := alice.General(t, "ops")
	messages := "/api/channels/" + ops.Channel.ID + "/messages"
	bearer := "Bearer " + alice.Token
	for _, tt := range []struct {
		method, path, name string
		values             []string
	}{
		{"GET", "/api/stream", "Last-Event-Id", []string{ops.Cursor, "1.0"}},
		{"GET", "/api/stream", "Last-Event-Id", []string{"", ops.Cursor}},
		{"GET", "/api/me", "Authorization", []string{bearer, "Bearer x"}},
		{"POST", messages, "Content-Type", []string{"application/json", "text/plain"}},
		{"POST", messages, "Content-Encoding", []string{"identity", "gzip"}},
		{"GET", "/api/me", "Origin", []string{n.URL, "https://evil.example"}},
		{"GET", "/api/me", "Sec-Fetch-Site", []string{"same-origin", "cross-site"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := with(t, alice, tt.method, tt.path, `{"content":"hi"}`, http.Header{tt.name: tt.values})
			p := nodetest.WantProblem(t, a, 400, "malformed")
			if len(p.Errors) != 1 || p.Errors[0].Field != tt.name {
				t.Errorf("got errors %v, want one of %s", p.Errors, tt.name)
			}
		})
	}
	const kind = "application/json"
	twice := http.Header{
		"Authorization": {bearer, bearer}, "Content-Type": {kind, kind},
		"Accept": {"a/b", "*/*"},
	}
	if a := with(t, alice, "POST", messages, `{"content":"hi"}`, twice); a.Status != 201 {
		t.Errorf("the same value twice: got %v, want 201", a)
	}
}

// Each spelling of UTF-8 is UTF-8, and nothing else is.
func charsets(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	messages := "/api/channels/" + alice.General(t, "ops").Channel.ID + "/messages"
	for charset, status := range map[string]int{
		"utf-8": 201, "UTF-8": 201, `"utf-8"`: 201, "utf8": 201, "UTF8": 201, `"Utf8"`: 201,
		"utf-16": 415, "latin1": 415, "utf": 415, `"utf 8"`: 415,
	} {
		a := with(t, alice, "POST", messages, `{"content":"hi"}`,
			http.Header{"Content-Type": {"application/json; charset=" + charset}})
		if a.Status != status {
			t.Errorf("%s: got %v, want %d", charset, a, status)
		}
	}
}

// What a proxy's rule on the path as it is written does not see leads nowhere. What clients encode does no
// harm.
func TestHiddenPaths(t *testing.T) {
	t.Parallel()
	for _, basePath := range []string{"", "/chat"} {
		n := nodetest.Start(t, nodetest.Setup{BasePath: basePath})
		alice := n.User("alice")
		id := alice.General(t, "ops", "b@b").Channel.ID
		for _, path := range []string{
			"/%6detrics", "/%6Detrics", "/metric%73", "/api%2fme", "/api%2Fme", "/api/%6de", "/api/m%65",
			"/openapi%2ejson", "/api/channels%2f" + id,
			"/api/channels/%3" + id[:1] + id[1:], "/%61pi/me", "/console%2fapp.js", "/api%5cme",
			"/api/channels/" + id + "/members/%2e%2e",
		} {
			alice.Refused(t, 400, "malformed", "GET", path, nil)
			alice.Refused(t, 400, "malformed", "POST", path, nodetest.Body{})
		}
		if a, err := alice.Do("DELETE", "/api/channels/"+id+"/members/b%40b", nil); err != nil ||
			a.Status != 200 {
			t.Errorf("an encoded @: got %v and error %v, want 200", a, err)
		}
		alice.Refused(t, 422, "invalid", "PUT", "/api/channels/"+id+"/members/a%20b", nil)
		if basePath != "" {
			hidden := *n
			hidden.URL = strings.Replace(n.URL, "/chat", "/%63hat", 1)
			alice.At(&hidden).Refused(t, 400, "malformed", "GET", "/api/me", nil)
		}
	}
}

// A problem does not repeat all that was wrong, however much that is.
func shortProblems(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	var many strings.Builder
	for i := range 7000 {
		fmt.Fprintf(&many, `"%d":0,`, i)
	}
	for name, tt := range map[string]struct {
		path, content string
		more          string
	}{
		"7,000 members": {
			"/api/channels",
			`{` + many.String() + `"guildId":"g1","name":"x","xType":"general"}`, "at most 100",
		},
		"a long member": {"/api/channels", `{"` + strings.Repeat(`\u0001`, 10_000) + `":0}`, ""},
		"a long member twice": {"/api/channels", `{"` + strings.Repeat(`é`, 10_000) + `":0,"` +
			strings.Repeat(`é`, 10_000) + `":0}`, ""},
		"many parameters":  {"/api/channels?" + manyParameters(1000), `{}`, "980 more"},
		"a long parameter": {"/api/channels?" + strings.Repeat("x", 20_000) + "=1", `{}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := alice.Do("POST", tt.path, tt.content)
			if err != nil {
				t.Fatal(err)
			}
			p := nodetest.WantProblem(t, a, 400, "malformed")
			if len(a.Body) > 8<<10 || len(p.Errors) > 20 || len(p.Errors) == 0 {
				t.Errorf("got %d bytes and %d errors, want 8 KiB and 20 at most", len(a.Body), len(p.Errors))
			}
			if !strings.Contains(p.Detail, tt.more) {
				t.Errorf("got detail %q, want %q in it", p.Detail, tt.more)
			}
		})
	}
}

func manyParameters(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "p%d=1&", i)
	}
	return b.String()
}

// Who has no token cannot fill the log: what a request chose is cut in its line.
func TestLogLinesAreShort(t *testing.T) {
	t.Parallel()
	log := &nodetest.LogBuffer{}
	n := nodetest.Start(t, nodetest.Setup{
		Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	nobody := n.As("", "")
	for _, path := range []string{
		"/" + strings.Repeat("x", 25_000), "/" + strings.Repeat("%01", 8000),
		"/api/channels/" + strings.Repeat("é", 4000),
	} {
		if _, err := nobody.Do("GET", path, nil); err != nil {
			t.Error(err)
		}
	}
	if _, err := nobody.Do(strings.Repeat("M", 25_000), "/api/me", nil, "X-Request-Id",
		strings.Repeat("r", 1000)); err != nil {
		t.Error(err)
	}
	n.Stop()
	lines := 0
	for line := range strings.Lines(log.String()) {
		lines++
		if len(line) > 4<<10 {
			t.Errorf("got a line of %d bytes, want 4 KiB at most: %.200s", len(line), line)
		}
	}
	if lines < 4 {
		t.Errorf("got %d lines, want one for each request", lines)
	}
}

// A channel's name shows something, and leaves what stands beside it alone.
func visibleNames(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	id := alice.General(t, "ops").Channel.ID
	for _, name := range []string{
		"ops", "größe", "通知", "עברית", "العربية", "می\u200cخواهم", // with a non-joiner
		"👩‍👩‍👧", "❤️", "🏳️‍🌈", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "a\u0301",
		"किं", "7️⃣", "a b", "#", "…",
	} {
		if a, err := alice.Do("PATCH", "/api/channels/"+id, nodetest.Body{"name": name}); err != nil ||
			a.Status != 200 {
			t.Errorf("%q: got %v and error %v, want 200", name, a, err)
		}
	}
	for _, name := range []string{
		"", " ", "\u00a0", "\u3000", "\u200b", "\u200d", "\u200c\ufeff", "\u2060", "\u00ad", "\ufe0f",
		"\u034f", "\u115f", "\u3164", "\uffa0", "\u2800", "\u180e",
		"\U000e0041", "\u0301", "\ue000",
		"ops\u202e", "\u202aops", "\u202bops", "\u202cops", "o\u202dps", "o\u2066ps", "o\u2067ps",
		"o\u2068ps", "o\u2069ps", "ops\u200e", "ops\u200f", "ops\u061c",
		"a\u2028b", "a\u2029b", "a\u0085b", "a\tb", "a\x7fb",
	} {
		for method, path := range map[string]string{"PATCH": "/api/channels/" + id, "POST": "/api/channels"} {
			p := alice.Refused(t, 422, "invalid", method, path, named(method, name))
			if len(p.Errors) != 1 || p.Errors[0].Field != "name" {
				t.Errorf("%q: got errors %v, want one of the name", name, p.Errors)
			}
		}
	}
}

func named(method, name string) nodetest.Body {
	if method == "PATCH" {
		return nodetest.Body{"name": name}
	}
	return nodetest.Body{"name": name, "guildId": "g1", "xType": "general"}
}

// "." and ".." are no ids, because clients remove them from paths.
func dotsAreNoIDs(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	for _, dots := range []string{".", ".."} {
		alice.Refused(t, 422, "invalid", "POST", "/api/channels",
			nodetest.NewChannel{GuildID: dots, Name: "x", XType: "general"})
		alice.Refused(t, 422, "invalid", "POST", "/api/channels",
			nodetest.NewChannel{GuildID: "g1", Name: "x", XType: "general", Members: []string{dots}})
		if _, err := n.Tokens.Sign(dots, nil, 1); err == nil {
			t.Errorf("got a token of %q, want none", dots)
		}
	}
	alice.General(t, "x", "...", ".a", "a..")
}
