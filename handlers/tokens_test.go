package handlers_test

import (
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fabric-guild/handlers/auth"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

type closing struct {
	Reason    string `json:"reason"`
	Reconnect bool   `json:"reconnect"`
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		token, err := n.tokens.Sign("alice", nil, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		alice := n.as("alice", token)
		s, _ := alice.fresh(t, over, "")
		frames := s.ended(t)
		if len(frames) != 1 || frames[0].id != "" {
			t.Fatalf("got %v, want one frame without an id", frames)
		}
		if got := data[closing](t, frames[0], "stream.closing"); got != (closing{"token_expired", false}) {
			t.Errorf("got %+v, want token_expired and not to reconnect", got)
		}
		if !eventually(func() bool {
			a, err := alice.do("GET", "/api/me", nil)
			return err == nil && a.status == 401
		}) {
			t.Error("the token outlives its stream")
		}
		alice.refused(t, 401, "token_expired", "GET", "/api/me", nil)
	})
}

func TestAStreamEndsWhenTheServerDrains(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, n *node, over transport) {
		alice := n.user("alice")
		s, _ := alice.fresh(t, over, "")
		last := alice.general(t, "last words")
		n.settle(t)
		stopped := make(chan struct{})
		go func() {
			n.stop()
			close(stopped)
		}()
		frames := s.ended(t)
		if diff := cmp.Diff([]string{"channel.joined", "stream.closing"}, kinds(frames)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		if got := data[closing](t, frames[1], "stream.closing"); got != (closing{"drain", true}) || frames[0].id != last.Cursor {
			t.Errorf("got %+v after %s, want drain and to reconnect, after %s", got, frames[0].id, last.Cursor)
		}
		<-stopped
	})
}

func TestBadTokensAreRefused(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	key := readKey(t, n.state)
	good := func() jwt.MapClaims {
		return jwt.MapClaims{"iss": "fabric-guild", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	}
	sign := func(m jwt.SigningMethod, key any, change func(jwt.MapClaims)) string {
		c := good()
		change(c)
		s, err := jwt.NewWithClaims(m, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	same := func(jwt.MapClaims) {}
	if a, err := (&user{n, "alice", sign(jwt.SigningMethodHS256, key, same)}).do("GET", "/api/me", nil); err != nil || a.status != 200 {
		t.Fatalf("got %v and error %v, want that the key in the file signs", a, err)
	}
	header, payload, _ := strings.Cut(alice.token, ".")
	payload, signature, _ := strings.Cut(payload, ".")
	for name, tt := range map[string]struct{ token, code string }{
		"expired":             {sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Second).Unix() }), "token_expired"},
		"another key":         {sign(jwt.SigningMethodHS256, []byte(strings.Repeat("k", 32)), same), "token_invalid"},
		"an empty key":        {sign(jwt.SigningMethodHS256, []byte{}, same), "token_invalid"},
		"alg none":            {sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, same), "token_invalid"},
		"another alg":         {sign(jwt.SigningMethodHS512, key, same), "token_invalid"},
		"no signature":        {header + "." + payload + ".", "token_invalid"},
		"another's signature": {header + "." + payload + "x." + signature, "token_invalid"},
		"never expires":       {sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { delete(c, "exp") }), "token_invalid"},
		"another issuer":      {sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { c["iss"] = "other" }), "token_invalid"},
		"nobody":              {sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { delete(c, "sub") }), "token_invalid"},
		"a bad user id":       {sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { c["sub"] = "a b" }), "token_invalid"},
		"not valid yet":       {sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }), "token_invalid"},
		"bad guild ids":       {sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { c["guildIds"] = "g1" }), "token_invalid"},
		"rubbish":             {"x", "token_invalid"},
		"nothing":             {"", "token_missing"},
	} {
		t.Run(name, func(t *testing.T) {
			u := &user{n, "alice", tt.token}
			u.refused(t, 401, tt.code, "GET", "/api/me", nil)
			u.refused(t, 401, tt.code, "POST", "/api/channels", newChannel{GuildID: "g1", Name: "x", XType: "general"})
			u.refused(t, 401, tt.code, "POST", "/api/session", nil)
			s, err := u.ask(raw, "")
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			wantProblem(t, s.answer(t), 401, tt.code)
		})
	}
	nobody := n.as("", "")
	for _, authorization := range []string{"Basic YWxpY2U6eA==", "Bearer", "Bearer ", alice.token, "Token " + alice.token} {
		nobody.refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Authorization", authorization)
	}
	if a, err := nobody.do("GET", "/api/me", nil, "Authorization", "bearer "+alice.token); err != nil || a.status != 200 {
		t.Errorf("got %v and error %v, want 200: a scheme's case does not matter", a, err)
	}
	if got := n.count(t, `SELECT count(*) FROM channels`); got != 0 {
		t.Errorf("got %d channels, want none", got)
	}
}

func readKey(t *testing.T, state string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(state, "token.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestANewKeyEndsOlderTokens(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	old := n.user("alice")
	for range 20 { // in quick succession: a file's time of change is coarse
		old.token = n.user("alice").token
		call[map[string]any](t, old, 200, "GET", "/api/me", nil)
		if err := n.tokens.Rotate(); err != nil {
			t.Fatal(err)
		}
		old.refused(t, 401, "token_invalid", "GET", "/api/me", nil)
	}
	call[map[string]any](t, n.user("alice"), 200, "GET", "/api/me", nil)
	other, err := auth.OpenTokens(n.state)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Check(t.Context(), netip.Addr{}, old.token); err == nil {
		t.Error("got no error from another process, want one")
	}
}
