package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzObjectMembers compares objectMembers with the tokens of encoding/json.
func FuzzObjectMembers(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { } `, ``, ` `, `[]`, `null`, `"a"`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,}`, `{"a":1}x`,
		`{"a":1}{"b":2}`, `{,}`, `{"a":1,"b":-2.5e3 ,"c":true,"d":null}`, `{"a":{"b":[1,{"c":"}"}]},"d":"]"}`,
		`{"a":"\"}","b":"\\"}`, `{"a":[],"b":{},"c":""}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`,
		`{"\u0062":1}`,
		`{"\ud800":1}`, `{"":""}`, "\t{\r\n\"a\" : [ 1 , 2 ] , \"b\":3 }\n", `{"a":"ü, {é}"}`,
		"{\"a\":\"\x00\"}",
		`{"content":"hi <@bob>","replyTo":null,"mentionUserIds":["a","b"]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if !utf8.ValidString(body) {
			t.Skip("Decode refuses it before")
		}
		want, ok := membersByTokens(body)
		got, err := objectMembers([]byte(body))
		if (err == nil) != ok {
			t.Fatalf("%q: got error %v, want success %t", body, err, ok)
		}
		if err != nil {
			wantRefusal(t, err)
			return
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: (-want +got):\n%s", body, diff)
		}
	})
}

// membersByTokens is objectMembers with the decoder of encoding/json.
func membersByTokens(body string) (members map[string]json.RawMessage, ok bool) {
	dec := json.NewDecoder(strings.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	members = map[string]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, false
		}
		var raw json.RawMessage
		if dec.Decode(&raw) != nil {
			return nil, false
		}
		if _, twice := members[key.(string)]; twice || len(members) == maxFields {
			return nil, false
		}
		members[key.(string)] = bytes.TrimSpace(raw)
	}
	if _, err := dec.Token(); err != nil {
		return nil, false
	}
	_, err := dec.Token()
	return members, errors.Is(err, io.EOF)
}

// A post's body is read without a copy of each field.
func TestAllocationsOfABody(t *testing.T) {
	type post struct {
		Content  string  `json:"content"`
		ReplyTo  *string `json:"replyTo"`
		KeepWake bool    `json:"keepWake"`
	}
	body := strings.NewReader("")
	r := httptest.NewRequest("POST", "/", body)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	allocs := testing.AllocsPerRun(100, func() {
		body.Reset(`{"content":"hi"}`)
		if _, err := Decode[post](w, r); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%.0f allocations", allocs)
	if allocs > 10 {
		t.Errorf("got %.0f allocations, want 10 at most", allocs)
	}
}
