package edgetest_test

import (
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/e2e/nodetest"
)

type closing struct {
	Reason    string `json:"reason"`
	Reconnect bool   `json:"reconnect"`
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice, frames := nodetest.BriefStream(t, over, func(life time.Duration) *nodetest.User {
			token, err := n.Tokens.Sign("alice", nil, life)
			if err != nil {
				t.Fatal(err)
			}
			return n.As("alice", token)
		})
		if len(frames) != 1 || frames[0].ID != "" {
			t.Fatalf("got %v, want one frame without an id", frames)
		}
		if got := nodetest.Data[closing](t, frames[0],
			"stream.closing"); got != (closing{"token_expired", false}) {
			t.Errorf("got %+v, want token_expired and not to reconnect", got)
		}
		if !ssetest.Await(func() bool {
			a, err := alice.Do("GET", "/api/me", nil)
			return err == nil && a.Status == 401
		}) {
			t.Error("the token outlives its stream")
		}
		alice.Refused(t, 401, "token_expired", "GET", "/api/me", nil)
	})
}

func TestAStreamEndsWhenTheServerDrains(t *testing.T) {
	t.Parallel()
	nodetest.OverTransports(t, func(t *testing.T, n *nodetest.Node, over nodetest.Transport) {
		alice := n.User("alice")
		s, _ := alice.Fresh(t, over, "")
		last := alice.General(t, "last words")
		n.Settle(t)
		stopped := make(chan struct{})
		go func() {
			n.Stop()
			close(stopped)
		}()
		frames := s.Ended(t)
		if diff := cmp.Diff([]string{"channel.joined", "stream.closing"},
			nodetest.Kinds(frames)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		if got := nodetest.Data[closing](t, frames[1], "stream.closing"); got != (closing{"drain", true}) ||
			frames[0].ID != last.Cursor {
			t.Errorf("got %+v after %s, want drain and to reconnect, after %s", got, frames[0].ID,
				last.Cursor)
		}
		<-stopped
	})
}

func TestBadTokensAreRefused(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	key := readKey(t, n.State)
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
	if a, err := (&nodetest.User{
		Node: n, ID: "alice",
		Token: sign(jwt.SigningMethodHS256, key, same),
	}).Do("GET", "/api/me", nil); err != nil ||
		a.Status != 200 {
		t.Fatalf("got %v and error %v, want that the key in the file signs", a, err)
	}
	header, payload, _ := strings.Cut(alice.Token, ".")
	payload, signature, _ := strings.Cut(payload, ".")
	for name, tt := range map[string]struct{ token, code string }{
		"expired": {
			sign(jwt.SigningMethodHS256, key,
				func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Second).Unix() }), "token_expired",
		},
		"another key": {
			sign(jwt.SigningMethodHS256, []byte(strings.Repeat("k", 32)), same),
			"token_invalid",
		},
		"an empty key": {sign(jwt.SigningMethodHS256, []byte{}, same), "token_invalid"},
		"alg none": {
			sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, same),
			"token_invalid",
		},
		"another alg":         {sign(jwt.SigningMethodHS512, key, same), "token_invalid"},
		"no signature":        {header + "." + payload + ".", "token_invalid"},
		"another's signature": {header + "." + payload + "x." + signature, "token_invalid"},
		"never expires": {
			sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { delete(c, "exp") }),
			"token_invalid",
		},
		"another issuer": {
			sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { c["iss"] = "other" }),
			"token_invalid",
		},
		"nobody": {
			sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { delete(c, "sub") }),
			"token_invalid",
		},
		"a bad user id": {
			sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { c["sub"] = "a b" }),
			"token_invalid",
		},
		"not valid yet": {sign(jwt.SigningMethodHS256, key,
			func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }), "token_invalid"},
		"bad guild ids": {
			sign(jwt.SigningMethodHS256, key, func(c jwt.MapClaims) { c["guildIds"] = "g1" }),
			"token_invalid",
		},
		"rubbish": {"x", "token_invalid"},
		"nothing": {"", "token_missing"},
	} {
		t.Run(name, func(t *testing.T) {
			u := &nodetest.User{Node: n, ID: "alice", Token: tt.token}
			u.Refused(t, 401, tt.code, "GET", "/api/me", nil)
			u.Refused(t, 401, tt.code, "POST", "/api/channels",
				nodetest.NewChannel{GuildID: "g1", Name: "x", XType: "general"})
			u.Refused(t, 401, tt.code, "POST", "/api/session", nil)
			s, err := u.Ask(nodetest.Raw, "")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			nodetest.WantProblem(t, s.Answer(t), 401, tt.code)
		})
	}
	nobody := n.As("", "")
	for _, authorization := range []string{
		"Basic YWxpY2U6eA==", "Bearer", "Bearer ", alice.Token,
		"Token " + alice.Token,
	} {
		nobody.Refused(t, 401, "token_invalid", "GET", "/api/me", nil, "Authorization", authorization)
	}
	if a, err := nobody.Do("GET", "/api/me", nil, "Authorization", "bearer "+alice.Token); err != nil ||
		a.Status != 200 {
		t.Errorf("got %v and error %v, want 200: a scheme's case does not matter", a, err)
	}
	if got := n.Count(t, `SELECT count(*) FROM channels`); got != 0 {
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
	n := nodetest.Start(t, nodetest.Setup{})
	old := n.User("alice")
	for range 20 { // in quick succession: a file's time of change is coarse
		old.Token = n.User("alice").Token
		nodetest.Call[map[string]any](t, old, 200, "GET", "/api/me", nil)
		if err := n.Tokens.Rotate(); err != nil {
			t.Fatal(err)
		}
		old.Refused(t, 401, "token_invalid", "GET", "/api/me", nil)
	}
	nodetest.Call[map[string]any](t, n.User("alice"), 200, "GET", "/api/me", nil)
	other, err := auth.OpenTokens(n.State)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Check(t.Context(), netip.Addr{}, old.Token); err == nil {
		t.Error("got no error from another process, want one")
	}
}
