package edgetest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/handlers/e2e/nodetest"
)

func TestBadInput(t *testing.T) {
	nodetest.Share(t,
		nodetest.Small{Name: "bodies", Test: badBodies},
		nodetest.Small{Name: "content types", Test: contentTypes},
		nodetest.Small{Name: "parameters and ids", Test: badParametersAndIDs},
		nodetest.Small{Name: "paths and methods", Test: pathsAndMethods},
		nodetest.Small{Name: "request ids", Test: requestIDs},
		nodetest.Small{Name: "headers that contradict themselves", Test: contradictingHeaders},
		nodetest.Small{Name: "charsets", Test: charsets},
		nodetest.Small{Name: "problems are short", Test: shortProblems},
		nodetest.Small{Name: "names must be visible", Test: visibleNames},
		nodetest.Small{Name: "dots are no ids", Test: dotsAreNoIDs},
	)
}

func badBodies(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	id := alice.General(t, "ops").Channel.ID
	elsewhere := alice.Post(t, alice.General(t, "elsewhere").Channel.ID, "x").Message.ID
	create, rename, post := "POST /api/channels", "PATCH /api/channels/"+id,
		"POST /api/channels/"+id+"/messages"
	before := n.Stored(t)
	const okay = `"guildId":"g1","name":"x","xType":"general"`
	many := func(k int) string {
		ids := make([]string, k)
		for i := range ids {
			ids[i] = fmt.Sprintf(`"m%d"`, i)
		}
		return "[" + strings.Join(ids, ",") + "]"
	}
	for _, tt := range []struct {
		name, route, body string
		status            int
		code, field       string
	}{
		{"no body", post, "", 400, "malformed", ""},
		{"no JSON", post, "hi", 400, "malformed", ""},
		{"cut off", post, `{"content":"hi"`, 400, "malformed", ""},
		{"two colons", post, `{"content"::"hi"}`, 400, "malformed", ""},
		{"no comma", post, `{"content":"hi" "replyTo":null}`, 400, "malformed", ""},
		{"a comma too many", post, `{"content":"hi",}`, 400, "malformed", ""},
		{"a comment", post, `{"content":"hi"/**/}`, 400, "malformed", ""},
		{"a number", post, `7`, 400, "malformed", ""},
		{"null", post, `null`, 400, "malformed", ""},
		{"a list", post, `[{"content":"hi"}]`, 400, "malformed", ""},
		{"a wrong bracket", post, `{"content":"hi"]`, 400, "malformed", ""},
		{"trailing data", post, `{"content":"hi"}{}`, 400, "malformed", ""},
		{"trailing rubbish", post, `{"content":"hi"} x`, 400, "malformed", ""},
		{"a trailing bracket", post, `{"content":"hi"}}`, 400, "malformed", ""},
		{"deep", post, `{"content":` + strings.Repeat("[", 20000), 400, "malformed", ""},
		{"invalid UTF-8", post, "{\"content\":\"\xff\"}", 400, "malformed", ""},
		{"invalid UTF-8 in a name", post, "{\"content\":\"hi\",\"\xc3\":1}", 400, "malformed", ""},
		{"a BOM", post, "\ufeff{\"content\":\"hi\"}", 400, "malformed", ""},
		{"a raw newline", post, "{\"content\":\"a\nb\"}", 400, "malformed", ""},
		{"an unknown field", post, `{"content":"hi","colour":"red"}`, 400, "malformed", "colour"},
		{"another case", post, `{"Content":"hi"}`, 400, "malformed", "Content"},
		{"both cases", post, `{"content":"hi","CONTENT":"ho"}`, 400, "malformed", "CONTENT"},
		{"a doubled field", post, `{"content":"hi","content":"ho"}`, 400, "malformed", "content"},
		{
			"a doubled field, escaped", post, `{"content":"hi","\u0063ontent":"ho"}`, 400, "malformed",
			"content",
		},
		{"a missing field", post, `{}`, 400, "malformed", "content"},
		{"a null for it", post, `{"content":null}`, 400, "malformed", "content"},
		{"a number for it", post, `{"content":7}`, 400, "malformed", "content"},
		{"an object for it", post, `{"content":{"text":"hi"}}`, 400, "malformed", "content"},
		{"a number for an id", post, `{"content":"hi","replyTo":7}`, 400, "malformed", "replyTo"},
		{
			"64 KiB and a byte", post, `{"content":"` + strings.Repeat("x", 64<<10-14+1) + `"}`, 413,
			"body_too_large", "",
		},
		{"64 KiB", post, `{"content":"` + strings.Repeat("x", 64<<10-14) + `"}`, 422, "content_too_long", ""},
		{
			"16 KiB and a byte", post, `{"content":"` + strings.Repeat("x", 16<<10+1) + `"}`, 422,
			"content_too_long", "",
		},
		{
			"16 KiB and a byte of two", post, `{"content":"x` + strings.Repeat("é", 8<<10) + `"}`, 422,
			"content_too_long", "",
		},
		{"empty content", post, `{"content":""}`, 422, "invalid", "content"},
		{"blank content", post, `{"content":" \t\r\n"}`, 422, "invalid", "content"},
		{"NUL", post, `{"content":"a\u0000b"}`, 422, "invalid", "content"},
		{"201 users mentioned", post, `{"content":"` + mentioned(201) + `"}`, 422, "invalid", "content"},
		{"replyTo is no id", post, `{"content":"hi","replyTo":"x"}`, 422, "invalid", "replyTo"},
		{"replyTo is empty", post, `{"content":"hi","replyTo":""}`, 422, "invalid", "replyTo"},
		{
			"replyTo is unknown", post, `{"content":"hi","replyTo":"` + nodetest.UUID7 + `"}`, 422,
			"invalid", "replyTo",
		},
		{
			"replyTo is of another channel", post, `{"content":"hi","replyTo":"` + elsewhere + `"}`, 422,
			"invalid", "replyTo",
		},

		{"nothing", create, `{}`, 400, "malformed", "guildId"},
		{"no guild", create, `{"name":"x","xType":"general"}`, 400, "malformed", "guildId"},
		{"no xType", create, `{"name":"x","guildId":"g1"}`, 400, "malformed", "xType"},
		{"members null", create, `{` + okay + `,"memberUserIds":null}`, 400, "malformed", "memberUserIds"},
		{
			"members a string", create, `{` + okay + `,"memberUserIds":"bob"}`, 400, "malformed",
			"memberUserIds",
		},
		{"members numbers", create, `{` + okay + `,"memberUserIds":[1]}`, 400, "malformed", "memberUserIds"},
		{"private null", create, `{` + okay + `,"private":null}`, 400, "malformed", "private"},
		{"private a string", create, `{` + okay + `,"private":"true"}`, 400, "malformed", "private"},
		{"private a number", create, `{` + okay + `,"private":1}`, 400, "malformed", "private"},
		{"an id given", create, `{` + okay + `,"id":"` + nodetest.UUID7 + `"}`, 400, "malformed", "id"},
		{"xType unknown", create, `{"guildId":"g1","name":"x","xType":"General"}`, 422, "invalid", "xType"},
		{"guild empty", create, `{"guildId":"","name":"x","xType":"general"}`, 422, "invalid", "guildId"},
		{
			"guild a bad id", create, `{"guildId":"g 1","name":"x","xType":"general"}`, 422,
			"invalid", "guildId",
		},
		{"guild too long", create, `{"guildId":"` + strings.Repeat("g", 129) +
			`","name":"x","xType":"general"}`, 422, "invalid", "guildId"},
		{"no name", create, `{"guildId":"g1","xType":"general"}`, 422, "invalid", "name"},
		{"name null", create, `{"guildId":"g1","name":null,"xType":"general"}`, 422, "invalid", "name"},
		{"name blank", create, `{"guildId":"g1","name":" ","xType":"general"}`, 422, "invalid", "name"},
		{"name too long", create, `{"guildId":"g1","name":"` + strings.Repeat("é", 101) +
			`","xType":"general"}`, 422, "invalid", "name"},
		{
			"name with NUL", create, `{"guildId":"g1","name":"a\u0000","xType":"general"}`, 422,
			"invalid", "name",
		},
		{
			"name of two lines", create, `{"guildId":"g1","name":"a\nb","xType":"general"}`, 422,
			"invalid", "name",
		},
		{"history unknown", create, `{` + okay + `,"history":"none"}`, 422, "invalid", "history"},
		{
			"a bad member id", create, `{` + okay + `,"memberUserIds":["bob","b c"]}`, 422, "invalid",
			"memberUserIds",
		},
		{
			"a null among the members", create, `{` + okay + `,"memberUserIds":["bob",null]}`, 0, "",
			"memberUserIds",
		},
		{
			"1,001 members", create, `{` + okay + `,"memberUserIds":` + many(1001) + `}`, 422, "invalid",
			"memberUserIds",
		},
		{"a dm of none", create, `{"guildId":"g1","xType":"dm"}`, 422, "invalid", "memberUserIds"},
		{
			"a dm with oneself", create, `{"guildId":"g1","xType":"dm","memberUserIds":["alice"]}`, 422,
			"invalid", "memberUserIds",
		},
		{
			"a dm of three", create, `{"guildId":"g1","xType":"dm","memberUserIds":["bob","carol"]}`, 422,
			"invalid", "memberUserIds",
		},
		{
			"a dm with a name", create, `{"guildId":"g1","name":"us","xType":"dm","memberUserIds":["bob"]}`,
			422,
			"invalid", "name",
		},

		{"rename to nothing", rename, `{}`, 400, "malformed", "name"},
		{"rename to null", rename, `{"name":null}`, 400, "malformed", "name"},
		{"rename and more", rename, `{"name":"x","private":true}`, 400, "malformed", "private"},
		{"rename to blank", rename, `{"name":""}`, 422, "invalid", "name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			method, path, _ := strings.Cut(tt.route, " ")
			if tt.status == 0 { // either is right
				a, err := alice.Do(method, path, tt.body)
				if err != nil || a.Status != 400 && a.Status != 422 {
					t.Errorf("got %v and error %v, want 400 or 422", a, err)
				}
				return
			}
			p := alice.Refused(t, tt.status, tt.code, method, path, tt.body)
			names := tt.field == ""
			for _, e := range p.Errors {
				names = names || e.Field == tt.field && e.Detail != ""
			}
			if !names {
				t.Errorf("got errors %v, want one of the field %q", p.Errors, tt.field)
			}
		})
	}
	if diff := cmp.Diff(before, n.Stored(t)); diff != "" {
		t.Errorf("something was stored (-before +after):\n%s", diff)
	}
	for content, status := range map[string]int{
		strings.Repeat("x", 16<<10): 201,
		strings.Repeat("é", 8<<10):  201,
	} {
		if a, err := alice.Do("POST", "/api/channels/"+id+"/messages",
			nodetest.Body{"content": content}); err != nil || a.Status != status {
			t.Errorf("16 KiB: got status %d and error %v, want %d", a.Status, err, status)
		}
	}
	if a, err := alice.Do("POST", "/api/channels", `{`+okay+`,"memberUserIds":`+many(1000)+`}`); err != nil ||
		a.Status != 201 {
		t.Errorf("1,000 members: got %v and error %v, want 201", a, err)
	}
}

func contentTypes(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	path := "/api/channels/" + alice.General(t, "ops").Channel.ID + "/messages"
	before := n.Stored(t)
	for _, kind := range []string{
		"", "text/plain", "application/x-www-form-urlencoded",
		"application/json; charset=latin1", "application/jsonp", "json", "application/", ";",
	} {
		alice.Refused(t, 415, "unsupported_media_type", "POST", path, nodetest.Body{"content": "hi"},
			"Content-Type", kind)
	}
	alice.Refused(t, 415, "unsupported_media_type", "POST", path, nodetest.Body{"content": "hi"},
		"Content-Encoding", "gzip")
	if diff := cmp.Diff(before, n.Stored(t)); diff != "" {
		t.Errorf("something was stored (-before +after):\n%s", diff)
	}
	for _, kind := range []string{
		"application/json", "application/json; charset=utf-8",
		"APPLICATION/JSON;charset=\"UTF-8\"",
	} {
		if a, err := alice.Do("POST", path, nodetest.Body{"content": "hi"}, "Content-Type",
			kind); err != nil || a.Status != 201 {
			t.Errorf("%q: got %v and error %v, want 201", kind, a, err)
		}
	}
}

func badParametersAndIDs(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	id := alice.General(t, "ops").Channel.ID
	elsewhere := alice.Post(t, alice.General(t, "elsewhere").Channel.ID, "x").Message.ID
	channel := "/api/channels/" + id
	before := n.Stored(t)
	for _, tt := range []struct {
		route, code, field string
		status             int
	}{
		{"GET /api/channels?limit=0", "malformed", "limit", 400},
		{"GET /api/channels?limit=201", "malformed", "limit", 400},
		{"GET /api/channels?limit=-1", "malformed", "limit", 400},
		{"GET /api/channels?limit=x", "malformed", "limit", 400},
		{"GET /api/channels?limit=99999999999999999999", "malformed", "limit", 400},
		{"GET /api/channels?limit=1&limit=2", "malformed", "limit", 400},
		{"GET /api/channels?member=you", "malformed", "member", 400},
		{"GET /api/channels?archived=yes", "malformed", "archived", 400},
		{"GET /api/channels?guildId=g%201", "malformed", "guildId", 400},
		{"GET /api/channels?after=x", "malformed", "after", 400},
		{"GET /api/channels?after=%00", "malformed", "after", 400},
		{"GET /api/channels?page=2", "malformed", "page", 400},
		{"GET /api/channels?Limit=2", "malformed", "Limit", 400},
		{"GET /api/channels?limit=%zz", "malformed", "", 400},
		{"GET /api/channels?a;b", "malformed", "", 400},
		{"POST /api/channels?guildId=g1", "malformed", "guildId", 400},
		{"GET " + channel + "?x=1", "malformed", "x", 400},
		{"GET " + channel + "/members?after=x", "malformed", "after", 400},
		{"GET " + channel + "/members?after=1-", "malformed", "after", 400},
		{"GET " + channel + "/members?after=1-2-3", "malformed", "after", 400},
		{"GET " + channel + "/members?after=99999999999999999999-1", "malformed", "after", 400},
		{"GET " + channel + "/members?before=1-1", "malformed", "before", 400},
		{"GET " + channel + "/messages?before=x", "malformed", "before", 400},
		{"GET " + channel + "/messages?after=" + nodetest.UUID7, "malformed", "after", 400},
		{"GET " + channel + "/messages?before=" + elsewhere, "malformed", "before", 400},
		{"GET " + channel + "/messages?limit=1.5", "malformed", "limit", 400},
		{"POST " + channel + "/join?x=1", "malformed", "x", 400},
		{"POST " + channel + "/leave?x=1", "malformed", "x", 400},
		{"GET /api/me?x=1", "malformed", "x", 400},
		{"POST /api/session?x=1", "malformed", "x", 400},
		{"DELETE /api/session?x=1", "malformed", "x", 400},
		{"GET /api/sync?cursor=1.1", "malformed", "cursor", 400},
		{"GET /api/stream?cursor=1.1", "malformed", "cursor", 400},
		{"GET /api/stream?echo=1", "malformed", "echo", 400},
		{"GET /api/stream?wakeup=yes", "malformed", "wakeup", 400},
		{"GET /api/stream?snapshot=TRUE", "malformed", "snapshot", 400},
		{"GET /api/stream?heartbeat=15", "malformed", "heartbeat", 400},
		{"GET /api/stream?types=message", "malformed", "types", 400},
		{"GET /api/stream?types=message.created,", "malformed", "types", 400},
		{"GET /api/stream?types=stream.ready", "malformed", "types", 400},
		{"GET /api/stream?types=", "malformed", "types", 400},
		{"GET /api/stream?channels=ops", "malformed", "channels", 400},
		{"GET /api/stream?channels=", "malformed", "channels", 400},
		{"GET /api/events?channels=", "malformed", "channels", 400},
		{"GET /api/stream?channels=" + id + ",", "malformed", "channels", 400},
		{"GET /api/stream?lastEventId=x", "cursor_malformed", "lastEventId", 400},
		{"GET /api/stream?lastEventId=1.1&lastEventId=1.2", "malformed", "lastEventId", 400},
		{"PUT " + channel + "/members/a%20b", "invalid", "userId", 422},
		{"PUT " + channel + "/members/%00", "invalid", "userId", 422},
		{"DELETE " + channel + "/members/" + strings.Repeat("x", 129), "invalid", "userId", 422},
		{"GET /api/channels/" + nodetest.UUID7, "channel_not_found", "", 404},
		{"GET /api/channels/%00", "channel_not_found", "", 404},
		{"GET /api/channels/%7B" + id + "%7D", "channel_not_found", "", 404},
		{"GET /api/channels/urn:uuid:" + id, "channel_not_found", "", 404},
		{"GET /api/channels/" + strings.ReplaceAll(id, "-", ""), "channel_not_found", "", 404},
	} {
		t.Run(tt.route, func(t *testing.T) {
			method, path, _ := strings.Cut(tt.route, " ")
			p := alice.Refused(t, tt.status, tt.code, method, path, nil)
			if tt.field != "" && (len(p.Errors) != 1 || p.Errors[0].Field != tt.field) {
				t.Errorf("got errors %v, want one of the field %q", p.Errors, tt.field)
			}
		})
	}
	if diff := cmp.Diff(before, n.Stored(t)); diff != "" {
		t.Errorf("something was stored (-before +after):\n%s", diff)
	}
}

func pathsAndMethods(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	id := alice.General(t, "ops").Channel.ID
	for _, path := range []string{
		"/api", "/api/", "/api/channels/", "/api/me/", "/API/me", "//api/me",
		"/api/channels/" + id + "/", "/api/channels/" + id + "/none", "/api/stream/x", "/api/../api/none",
		"/none", "/debug/pprof/",
	} {
		alice.Refused(t, 404, "not_found", "GET", path, nil)
	}
	channel := "/api/channels/" + id
	for path, allow := range map[string]string{
		"/api/channels": "GET, HEAD, POST", channel: "DELETE, GET, HEAD, PATCH", channel + "/join": "POST",
		channel + "/leave":   "POST",
		channel + "/members": "GET, HEAD", channel + "/members/bob": "DELETE, PUT",
		channel + "/messages": "GET, HEAD, POST",
		"/api/stream":         "GET", "/api/events": "GET", "/api/sync": "GET, HEAD",
		"/api/me": "GET, HEAD, PATCH", "/api/session": "DELETE, POST", "/healthz": "GET, HEAD",
		"/readyz": "GET, HEAD", "/metrics": "GET, HEAD",
	} {
		for _, method := range []string{
			"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
			"TRACE", "QUERY",
		} {
			if strings.Contains(allow, method) {
				continue
			}
			t.Run(method+" "+path, func(t *testing.T) {
				a, err := alice.Do(method, path, nil)
				if err != nil {
					t.Fatal(err)
				}
				nodetest.WantProblem(t, a, 405, "method_not_allowed")
				if got := a.Header.Get("Allow"); got != allow {
					t.Errorf("got Allow %q, want %q", got, allow)
				}
			})
		}
	}
	if a, err := alice.Do(http.MethodHead, "/api/me", nil); err != nil || a.Status != 200 ||
		len(a.Body) != 0 {
		t.Errorf("HEAD: got %v and error %v, want 200 without a body", a, err)
	}
}

// What clients choose as request id comes back, unless it could do harm.
func requestIDs(t *testing.T, n *nodetest.Node) {
	alice := n.User("alice")
	for id, kept := range map[string]bool{
		"abc-1._Z": true, "": false, "a b": false,
		strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "é": false,
	} {
		a, err := alice.Do("GET", "/none", nil, "X-Request-Id", id)
		if err != nil {
			t.Fatal(err)
		}
		p := nodetest.WantProblem(t, a, 404, "not_found")
		if (p.RequestID == id) != kept {
			t.Errorf("%q: got %q, want it kept: %v", id, p.RequestID, kept)
		}
	}
}

// mentioned returns a text that mentions n users.
func mentioned(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "<@u%d>", i)
	}
	return b.String()
}
