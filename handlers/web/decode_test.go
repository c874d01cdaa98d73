package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// anyBody has a field of each kind that decode takes.
type anyBody struct {
	GuildID       string   `json:"guildId"`
	Name          *string  `json:"name"`
	XType         string   `json:"xType"`
	MemberUserIDs []string `json:"memberUserIds"`
	Private       bool     `json:"private"`
	History       *string  `json:"history"`
}

// wantRefusal fails unless err is a problem that blames the client.
func wantRefusal(t *testing.T, err error) {
	t.Helper()
	p, ok := errors.AsType[*Problem](err)
	if !ok || p.Status < 400 || p.Status > 499 || p.Code == "" || p.Detail == "" {
		t.Errorf("got error %v, want a problem with a status of 4xx, a code and a detail", err)
	}
}

// Whatever is accepted is what encoding/json reads, strictly, and comes back from its own encoding.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"guildId":"g1","name":"x","xType":"general"}`,
		`{"guildId":"","xType":"","memberUserIds":["a","b"],"private":true,"history":null}`,
		`{"guildId":"g","guildId":"g"}`, `{"GuildId":"g"}`, `{}`, `[]`, `{"guildId":1}`, `{"x":[[{}]]} `,
		"{\"a\":\"\xff\"}", `{"guildId":"\ud800","xType":"\u0000"}`,
		`{"guildId":"g","xType":"x",}`, `{"guildId":"g","xType":"x"}]`,
		` {"xType" : "x" , "guildId":"g"}` + "\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		got, err := Decode[anyBody](httptest.NewRecorder(), r)
		if err != nil {
			wantRefusal(t, err)
			return
		}
		if !utf8.ValidString(body) || !json.Valid([]byte(body)) {
			t.Errorf("got %+v of what is no JSON in UTF-8", got)
		}
		encoded, err := json.Marshal(body2map(got))
		if err != nil {
			t.Fatal(err)
		}
		var again anyBody
		if err := decodeObject(encoded, reflect.ValueOf(&again).Elem()); err != nil {
			t.Fatalf("%s is refused: %v", encoded, err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Errorf("%s (-accepted +again):\n%s", encoded, diff)
		}
	})
}

// body2map leaves out what was left out.
func body2map(b anyBody) map[string]any {
	m := map[string]any{
		"guildId": b.GuildID, "xType": b.XType, "private": b.Private, "name": b.Name,
		"history": b.History,
	}
	if b.MemberUserIDs != nil {
		m["memberUserIds"] = b.MemberUserIDs
	}
	return m
}

// What is accepted holds nothing but allowed parameters, each once at most.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"", "limit=1", "limit=1&limit=2", "Limit=1", "_=1&_=2", "token=x", "a;b", "%zz", "limit=%00", "=",
		"&&", "after=a+b%20c", "limit", "_", "ACCESS_TOKEN=x&after=%",
	} {
		f.Add(seed)
	}
	allowed := []string{"limit", "after", "types"}
	f.Fuzz(func(t *testing.T, raw string) {
		r := &http.Request{URL: &url.URL{RawQuery: raw}}
		if err := NoTokenInQuery(r); err != nil {
			wantRefusal(t, err)
		}
		q, err := Query(r, allowed...)
		if err != nil {
			wantRefusal(t, err)
			return
		}
		for name, values := range q {
			if name != "_" && (!slices.Contains(allowed, name) || len(values) != 1) {
				t.Errorf("got %q: %q, want an allowed name with one value", name, values)
			}
		}
		again, err := Query(&http.Request{URL: &url.URL{RawQuery: q.Encode()}}, allowed...)
		if diff := cmp.Diff(q, again); err != nil || diff != "" {
			t.Errorf("its own encoding: got error %v (-accepted +again):\n%s", err, diff)
		}
		if n, err := PageLimit(q); err != nil {
			wantRefusal(t, err)
		} else if n < 1 || n > MaxPageLimit {
			t.Errorf("got limit %d, want 1 to %d", n, MaxPageLimit)
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, seed := range []string{
		"", "x", "01a20138-0000-7000-8000-000000000000",
		"01A20138-0000-7000-8000-000000000000", "{01a20138-0000-7000-8000-000000000000}",
		"urn:uuid:01a20138-0000-7000-8000-000000000000", "01a20138000070008000000000000000",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := ParseID(s); ok && !strings.EqualFold(id.String(), s) {
			t.Errorf("got %s of %q, want the canonical form only", id, s)
		}
	})
}
