package center_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"fabric-guild/handlers/center"
	"fabric-guild/handlers/center/centertest"

	"github.com/google/go-cmp/cmp"
)

func TestResolveNames(t *testing.T) {
	t.Parallel()
	g := onSocket(t)
	g.SetNames(map[string]string{"Alice": "alice", "Bob B.": "bob@example.org", `"<é>`: "e", "Bad": "no id"})
	for _, tt := range []struct {
		names []string
		want  map[string]string
	}{
		{[]string{"Alice"}, map[string]string{"Alice": "alice"}},
		{
			[]string{"Alice", "Nobody", "Bob B.", "Alice", `"<é>`},
			map[string]string{"Alice": "alice", "Bob B.": "bob@example.org", `"<é>`: "e"},
		},
		{[]string{"Bad", "alice", ""}, map[string]string{}},
	} {
		if diff := cmp.Diff(tt.want, g.client.ResolveNames(t.Context(), tt.names)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.names, diff)
		}
	}
	g.wantCalls(centertest.ResolveNames, 3)
	if diff := cmp.Diff(map[string]string{}, g.client.ResolveNames(t.Context(), nil)); diff != "" {
		t.Errorf("no names (-want +got):\n%s", diff)
	}
	g.wantCalls(centertest.ResolveNames, 3)
}

// An answer counts only for names that were asked for, and only if it is a valid id.
func TestNameAnswers(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]map[string]string{
		`{"Alice":"alice","Mallory":"mallory"}`: {"Alice": "alice"},
		`{"ALICE":"mallory"}`:                   {},
		`{"Alice":null,"Bob":"bob"}`:            {"Bob": "bob"},
		`{"Alice":7,"Bob":{"id":"bob"}}`:        {},
		`{"Alice":"","Bob":"b ob"}`:             {},
		`{"Alice":"<@bob>"}`:                    {},
		`null`:                                  {},
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			g := onSocket(t)
			g.Break(centertest.Answer(answer))
			if diff := cmp.Diff(want,
				g.client.ResolveNames(t.Context(), []string{"Alice", "Bob"})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			failed := g.client.Counts()["resolve_names"].Failures["invalid"] == 1
			if want := answer == "null"; failed != want {
				t.Errorf("got failed %v, want %v", failed, want)
			}
		})
	}
}

func TestNamesAreBounded(t *testing.T) {
	t.Parallel()
	g := onSocket(t)
	known, want := map[string]string{}, map[string]string{}
	var names []string
	for n := range center.MaxNames + 20 {
		name := fmt.Sprint(strings.Repeat("n", 120), n)
		known[name] = fmt.Sprint("u", n)
		if n < center.MaxNames {
			want[name] = known[name]
		}
		names = append(names, name, name)
	}
	g.SetNames(known)
	if diff := cmp.Diff(want, g.client.ResolveNames(t.Context(), names)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	g.wantCalls(centertest.ResolveNames, 1)
}

// A caller that goes away is not a failure of Center.
func TestResolveNamesWhenTheCallerGoes(t *testing.T) {
	bubble(t, func(t *testing.T, g *guild) {
		g.Hang()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			synctest.Wait()
			cancel()
		}()
		if got := g.client.ResolveNames(ctx, []string{"Alice"}); got == nil || len(got) != 0 {
			t.Errorf("got %v, want an empty map", got)
		}
		for reason, got := range g.client.Counts()["resolve_names"].Failures {
			if got != 0 {
				t.Errorf("got %d failures with reason %s, want none", got, reason)
			}
		}
		if got := g.logs.String(); got != "" {
			t.Errorf("got %q, want an empty log", got)
		}
	})
}
