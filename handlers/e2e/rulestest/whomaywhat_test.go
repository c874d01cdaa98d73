package rulestest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

// whoMayWhat is the table of that name in docs/api.md: for each route what it answers to whom. Of a head or a
// cell with several names each stands for itself.
func whoMayWhat(t *testing.T) map[string]map[string]string {
	t.Helper()
	readme, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Who may what\n")
	_, table, _ := strings.Cut(section, "\n|")
	table, _, _ = strings.Cut(table, "\n\n")
	cells := func(line string) []string {
		var out []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			out = append(out, strings.TrimSpace(cell))
		}
		return out
	}
	lines := strings.Split(table, "\n")
	if len(lines) < 3 {
		t.Fatal("got no table in docs/api.md, want one")
	}
	heads, rows := cells(lines[0]), map[string]map[string]string{}
	for _, line := range lines[2:] {
		row, answers := cells(line), map[string]string{}
		if len(row) != len(heads) {
			t.Fatalf("got %d cells in %q, want %d", len(row), line, len(heads))
		}
		for i, head := range heads[1:] {
			for who := range strings.SplitSeq(head, ", ") {
				answers[who] = row[i+1]
			}
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[0], -1) {
			if rows[m[1]] != nil {
				t.Errorf("got two rows for %s, want one", m[1])
			}
			rows[m[1]] = answers
		}
	}
	return rows
}

// A stage is a channel as the table has it: of a creator, a member and an ex-member. If the route needs
// messages, each of them has posted.
type stage struct {
	channel  string
	messages map[string]string // by author
}

func newStage(t *testing.T, n *nodetest.Node, xType string, private, spoken bool) *stage {
	t.Helper()
	creator := n.User("creator")
	c := creator.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "ops", XType: xType, Private: private,
		Members: []string{"member", "ex-member", "other"},
	})
	s := &stage{c.Channel.ID, map[string]string{}}
	if spoken {
		for _, author := range []string{"creator", "member", "ex-member", "other"} {
			s.messages[author] = n.User(author).Says(t, s.channel, "hi").Message.ID
		}
	}
	n.User("ex-member").Leave(t, s.channel)
	return s
}

// routeBodies has the body that a route needs. Other routes need none.
var routeBodies = map[string]any{
	"POST /api/channels":              nodetest.NewChannel{GuildID: "g1", Name: "new", XType: "general"},
	"PATCH /api/channels/:id":         nodetest.Body{"name": "new"},
	"PUT /api/channels/:id/wake":      nodetest.Body{"userIds": []string{"creator"}},
	"POST /api/channels/:id/turn":     nodetest.Body{"action": "take"},
	"POST /api/channels/:id/messages": nodetest.Body{"content": "new"},
	"POST /api/channels/:id/activity": nodetest.Body{"kind": "typing"},
	"PATCH /api/messages/:id":         nodetest.Body{"content": "new"},
	"POST /api/render":                nodetest.Body{"contents": []string{"*hi*"}},
	"PATCH /api/me":                   nodetest.Body{"displayName": "Somebody"},
	"POST /api/wakes/claim":           nodetest.Body{},
	"POST /api/wakes/:id/extend":      nodetest.Body{},
	"POST /api/wakes/:id/ack":         nodetest.Body{},
	"POST /api/wakes/:id/nack":        nodetest.Body{},
	"POST /api/channels/:id/stop":     nodetest.Body{"userId": "member"},
}

// routeQueries has the query that a route needs.
var routeQueries = map[string]string{"GET /api/search": "?q=hi"}

// Every route, as everyone, on an open channel and on a private one, on what is their own and what is
// another's: the answers are those of the table in docs/api.md, and no route is without a row.
func TestWhoMayWhat(t *testing.T) {
	t.Parallel()
	table := whoMayWhat(t)
	all, err := nodetest.Routes()
	if err != nil {
		t.Fatal(err)
	}
	for route := range table {
		if !slices.Contains(all, route) {
			t.Errorf("docs/api.md has %s, which is no route", route)
		}
	}
	n := nodetest.Start(t, nodetest.Setup{Admin: "admin"})
	callers := map[string]*nodetest.User{
		"no token":  {Node: n, ID: "", Token: ""},
		"bad token": {Node: n, ID: "", Token: n.User("member").Token + "x"}, "operator": n.Operator(t),
	}
	for _, id := range []string{"stranger", "ex-member", "member", "creator", "admin"} {
		callers[id] = n.User(id)
	}
	for _, route := range all {
		if table[route] == nil {
			t.Errorf("got no row for %s in docs/api.md, want one", route)
			continue
		}
		if len(table[route]) != len(callers) {
			t.Errorf("got the callers %v, want each of %v", table[route], callers)
		}
		t.Run(route, func(t *testing.T) {
			t.Parallel()
			stages := map[bool]*stage{}
			for who, cell := range table[route] {
				trial(t, n, stages, route, who, callers[who], cell)
			}
		})
	}
}

// trial asks for a route as someone, and compares with a cell: yes, a status, or yes for what is their own
// and else a status. Of two with a stroke between, the second is of a private channel.
// A stage, of a private channel or not, is there until a trial changes it.
func trial(
	t *testing.T, n *nodetest.Node, stages map[bool]*stage, route, who string, caller *nodetest.User,
	cell string,
) {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	xType := "general"
	switch {
	case strings.HasSuffix(path, "/wake"):
		xType = "triage"
	case strings.HasSuffix(path, "/turn"):
		xType = "discuss"
	}
	spoken := strings.HasPrefix(path, "/api/messages/") || strings.HasSuffix(path, "/read")
	open, hidden, two := strings.Cut(cell, " / ")
	if !two {
		hidden = open
	}
	for _, private := range []bool{false, true} {
		for _, own := range []bool{false, true} {
			if stages[private] == nil {
				stages[private] = newStage(t, n, xType, private, spoken)
			}
			s := stages[private]
			target := "other"
			if own {
				target = who
			}
			id := s.channel
			if strings.HasPrefix(path, "/api/messages/") {
				if id = s.messages[target]; id == "" {
					continue // they have none
				}
			}
			at := strings.NewReplacer(":id", id, ":userId", strings.ReplaceAll(target, " ", "-"), ":file",
				"app.js", ":page", "stream").Replace(path)
			want := open
			if private {
				want = hidden
			}
			if otherwise, ok := strings.CutPrefix(want, "own, else "); ok {
				want = otherwise
				if own {
					want = "yes"
				}
			}
			content := routeBodies[route]
			if strings.HasSuffix(path, "/read") {
				content = nodetest.Body{"messageId": s.messages["creator"]}
			}
			var got, code string
			ssetest.Await(func() bool { // on a slow machine, all of this may be too much work for one address
				got, code = tries(t, caller, method, at+routeQueries[route], content)
				return code != "too_many_requests"
			})
			if got != want || got == "403" && (code == "not_member") != (who != "member" &&
				who != "creator") {
				t.Errorf("%s, private: %v, own: %v: got %s %s, want %s", who, private, own, got, code, want)
			}
			if got == "yes" && method != http.MethodGet {
				stages[private] = nil
			}
			if at == path { // there is but one
				return
			}
		}
	}
}

// tries is the outcome of a request: yes, or the status and code of a refusal. Of a stream it reads no more.
func tries(t *testing.T, u *nodetest.User, method, path string, content any) (outcome, code string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ssetest.Patience)
	defer cancel()
	encoded, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	if content == nil {
		encoded = nil
	}
	r, err := http.NewRequestWithContext(ctx, method, u.Node.URL+path, strings.NewReader(string(encoded)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if u.Token != "" {
		r.Header.Set("Authorization", "Bearer "+u.Token)
	}
	resp, err := u.Node.Client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 300 {
		return "yes", ""
	}
	var p nodetest.Problem
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		t.Errorf("%s %s: got %d and error %v, want a problem", method, path, resp.StatusCode, err)
	}
	return fmt.Sprint(resp.StatusCode), p.Code
}
