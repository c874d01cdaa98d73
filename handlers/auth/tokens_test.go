package auth_test

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/handlers/auth"
)

func TestTheKeyIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tokens, err := auth.OpenTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "token.key")
	mode := func() os.FileMode {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	if got := mode(); got != 0o600 {
		t.Errorf("got mode %o, want 600", got)
	}
	if err := tokens.Rotate(); err != nil || mode() != 0o600 {
		t.Errorf("rotated: got mode %o and error %v, want 600", mode(), err)
	}
	for _, wide := range []os.FileMode{0o640, 0o604, 0o660, 0o610, 0o602} {
		if err := os.Chmod(path, wide); err != nil {
			t.Fatal(err)
		}
		if _, err := auth.OpenTokens(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: got error %v, want one that says what to do", wide, err)
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []string{
		"", "xyz", hex.EncodeToString(make([]byte, 31)),
		hex.EncodeToString(make([]byte, 33)),
	} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := auth.OpenTokens(dir); err == nil {
			t.Errorf("a key file of %q: got no error, want one", damaged)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("got %v and error %v, want the key file and nothing beside it", entries, err)
	}
}

// A key of a user who could not have put it there is not ours to trust.
func TestTheKeyOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give files away: run the tests as root")
	}
	const other = 65534
	dir := t.TempDir()
	path := filepath.Join(dir, "token.key")
	if _, err := auth.OpenTokens(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, other, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.OpenTokens(dir); err == nil ||
		!strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("got error %v, want one that says whose the key is", err)
	}
	if err := os.Chown(dir, other, -1); err != nil { // they own all of it, and root helps
		t.Fatal(err)
	}
	tokens, err := auth.OpenTokens(dir)
	if err != nil {
		t.Fatalf("got error %v, want that root may use the key of the directory's owner", err)
	}
	if err := tokens.Rotate(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Sys().(*syscall.Stat_t).Uid; got != other {
		t.Errorf("got a key of %d that root made, want the directory's owner's: their server is to read it",
			got)
	}
}

func TestRacingProcessesAgreeOnOneKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := make([]*auth.Tokens, 24)
	var racing sync.WaitGroup
	for i := range all {
		racing.Go(func() {
			var err error
			if all[i], err = auth.OpenTokens(dir); err != nil {
				t.Error(err)
			}
		})
	}
	racing.Wait()
	if t.Failed() {
		return
	}
	for i, signer := range all {
		token, err := signer.Sign("alice", nil, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for k, checker := range all {
			if id, err := checker.Check(t.Context(), netip.Addr{}, token); err != nil ||
				id.UserID != "alice" {
				t.Errorf("signed by %d, checked by %d: got %+v and error %v", i, k, id, err)
			}
		}
	}
}

// Whoever rotates the key while a server runs can use the new tokens at once.
func TestTokensOfANewKeyAreValidAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := auth.OpenTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	command, err := auth.OpenTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	var last string
	for range 20 { // in quick succession: a file's time of change is coarse
		if err := command.Rotate(); err != nil {
			t.Fatal(err)
		}
		token, err := command.Sign("alice", nil, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := server.Check(t.Context(), netip.Addr{}, token); err != nil || id.UserID != "alice" {
			t.Fatalf("got %+v and error %v, want alice", id, err)
		}
		if _, err := server.Check(t.Context(), netip.Addr{}, last); !errors.Is(err, auth.ErrTokenInvalid) {
			t.Fatalf("got error %v for the token of the key before, want %v", err, auth.ErrTokenInvalid)
		}
		last = token
	}
}

func TestSignRefusesWhatIsNoID(t *testing.T) {
	t.Parallel()
	tokens, err := auth.OpenTokens(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "a b", "a/b", "é", "a\n", strings.Repeat("x", 129)} {
		if _, err := tokens.Sign(id, nil, time.Hour); err == nil {
			t.Errorf("user %q: got no error, want one", id)
		}
		if _, err := tokens.Sign("alice", []string{"g1", id}, time.Hour); err == nil {
			t.Errorf("guild %q: got no error, want one", id)
		}
	}
}

// A token names its end in whole seconds, and lasts at least as long as it was made for.
func TestATokenLastsForItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tokens, err := auth.OpenTokens(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(999 * time.Millisecond) // the clock of the bubble begins with a whole second
		token, err := tokens.Sign("ann", nil, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second - 1)
		if _, err := tokens.Check(t.Context(), netip.Addr{}, token); err != nil {
			t.Errorf("got error %v before the token's time was over", err)
		}
		time.Sleep(time.Second)
		if _, err := tokens.Check(t.Context(), netip.Addr{}, token); err == nil {
			t.Error("got no error a second after the token's end, want one")
		}
	})
}

// What was found out about a token is remembered, but not beyond its end or its key's.
func TestATokenIsCheckedOnce(t *testing.T) { // not in parallel: allocations are counted
	synctest.Test(t, func(t *testing.T) {
		tokens, err := auth.OpenTokens(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		token, err := tokens.Sign("ann", []string{"g1"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		other, err := tokens.Sign("bob", nil, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		check := func(token string) (auth.Identity, error) {
			return tokens.Check(t.Context(), netip.Addr{}, token)
		}
		for range 2 {
			if id, err := check(token); err != nil || id.UserID != "ann" || !id.MayEnter("g1") ||
				id.MayEnter("g2") {
				t.Errorf("got %v and %v, want ann of g1", id, err)
			}
			if id, err := check(other); err != nil || id.UserID != "bob" || !id.MayEnter("g2") {
				t.Errorf("got %v and %v, want bob of all guilds", id, err)
			}
			if _, err := check(token + "x"); err == nil {
				t.Error("got no error of a token that was changed")
			}
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = check(token) }); n > 3 {
			t.Errorf("got %v allocations for a token that is known, want it not parsed again", n)
		}
		time.Sleep(time.Hour)
		if _, err := check(token); err == nil {
			t.Error("got no error of a token that was valid an hour ago")
		}
	})
}
