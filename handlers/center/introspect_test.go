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

	"github.com/google/go-cmp/cmp"
)

func TestIntrospect(t *testing.T) {
	t.Parallel()
	g := onSocket(t)
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	for token, tt := range map[string]struct {
		is   centertest.Token
		want center.Identity
	}{
		"plain": {centertest.Token{UserID: "alice"}, center.Identity{UserID: "alice"}},
		"exp": {
			centertest.Token{UserID: "a@b", Expires: exp},
			center.Identity{UserID: "a@b", Expires: exp},
		},
		"guilds": {
			centertest.Token{UserID: "bob", Guilds: []string{"g1", "g2"}},
			center.Identity{UserID: "bob", Guilds: []string{"g1", "g2"}},
		},
		"no guilds": {
			centertest.Token{UserID: "bob", Guilds: []string{}},
			center.Identity{UserID: "bob", Guilds: []string{}},
		},
	} {
		token = strings.ReplaceAll(token, " ", "-")
		g.SetToken(token, tt.is)
		for _, from := range []string{"Center", "the cache"} {
			if diff := cmp.Diff(tt.want, g.user(token)); diff != "" {
				t.Errorf("%s from %s (-want +got):\n%s", token, from, diff)
			}
		}
	}
	g.wantCalls(centertest.Introspect, 4)
	for range 2 {
		g.refused("unknown", center.ErrInactive)
	}
	g.wantCalls(centertest.Introspect, 5)
}

func TestIntrospectionAnswers(t *testing.T) {
	t.Parallel()
	inactive, unavailable := center.ErrInactive, center.ErrUnavailable
	for _, tt := range []struct {
		answer string
		want   error
	}{
		{`{"active":true,"userId":"alice"}`, nil},
		{`{"active":true,"userId":"alice","exp":null}`, nil},
		{`{"active":true,"userId":"alice","exp":253402300799}`, nil},
		{`{"active":true,"userId":"alice","UserID":"mallory","sub":7,"aud":["x"]}`, nil},
		{`{"active":true,"userId":"alice","guildIds":["g1","no guild"]}`, nil},
		{`{"active":false}`, inactive},
		{`{"active":false,"userId":7,"exp":"never"}`, inactive},
		{`{"active":true,"userId":"alice","exp":1}`, inactive},
		{`{"active":true,"userId":"alice","exp":0}`, inactive},
		{`{"active":true,"userId":"alice","exp":-62135596800}`, inactive},
		{`null`, unavailable},
		{`{}`, unavailable},
		{`{"active":null}`, unavailable},
		{`{"active":"true","userId":"alice"}`, unavailable},
		{`{"active":1,"userId":"alice"}`, unavailable},
		{`{"Active":true,"userId":"alice"}`, unavailable},
		{`{"active":true}`, unavailable},
		{`{"active":true,"userId":null}`, unavailable},
		{`{"active":true,"userId":""}`, unavailable},
		{`{"active":true,"userId":7}`, unavailable},
		{`{"active":true,"userId":"al ice"}`, unavailable},
		{`{"active":true,"userId":"` + strings.Repeat("x", 129) + `"}`, unavailable},
		{`{"active":true,"userId":"alice","exp":"1893456000"}`, unavailable},
		{`{"active":true,"userId":"alice","exp":4102444800.5}`, unavailable},
		{`{"active":true,"userId":"alice","exp":4e9}`, unavailable},
		{`{"active":true,"userId":"alice","exp":4102444800000}`, unavailable},
		{`{"active":true,"userId":"alice","exp":99999999999999999999}`, unavailable},
		{`{"active":true,"userId":"alice","guildIds":null}`, unavailable},
		{`{"active":true,"userId":"alice","guildIds":"g1"}`, unavailable},
		{`{"active":true,"userId":"alice","guildIds":["g1",7]}`, unavailable},
	} {
		t.Run(tt.answer, func(t *testing.T) {
			t.Parallel()
			g := onSocket(t)
			g.Break(centertest.Answer(tt.answer))
			got, err := g.client.Introspect(t.Context(), netip.Addr{}, "t")
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			want := center.Identity{}
			if tt.want == nil {
				want.UserID, want.Expires = "alice", got.Expires
			}
			if strings.Contains(tt.answer, "no guild") {
				want.Guilds = []string{"g1"}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A string that cannot be a bearer token is refused without a call to Center.
func TestMalformedTokens(t *testing.T) {
	t.Parallel()
	g := onSocket(t)
	for _, token := range []string{"", "a b", "a\n", "é", "\xff", strings.Repeat("x", 8<<10+1)} {
		g.refused(token, center.ErrInactive)
	}
	g.wantCalls(centertest.Introspect, 0)
	g.refused(strings.Repeat("x", 8<<10), center.ErrInactive)
	g.wantCalls(centertest.Introspect, 1)
}

// Made-up tokens evict the least recently used made-up token, and never an active token.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	g := onSocket(t)
	g.client.Bound(3, 2)
	for _, token := range []string{"a", "b", "c", "d"} {
		g.SetToken(token, centertest.Token{UserID: "alice"})
	}
	g.user("a")
	g.user("b")
	g.user("c")
	for n := range 10 {
		g.refused(fmt.Sprint("unknown", n), center.ErrInactive)
	}
	g.wantCalls(centertest.Introspect, 13)
	g.user("a")
	g.user("d") // evicts b
	g.user("a")
	g.user("c")
	g.wantCalls(centertest.Introspect, 14)
	g.user("b")
	g.wantCalls(centertest.Introspect, 15)
	if active, inactive := g.client.Remembered(); active != 3 || inactive != 2 {
		t.Errorf("got %d active and %d inactive tokens, want 3 and 2", active, inactive)
	}
}
