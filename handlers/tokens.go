package handlers

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"fabric-guild/handlers/chat"

	"github.com/golang-jwt/jwt/v5"
)

// Tokens is the program's own authority: it signs and checks tokens (JWT, HS256) with a key that lies in
// the state directory, readable by its owner alone.
type Tokens struct {
	path string

	mu     sync.Mutex
	key    []byte
	looked time.Time   // when the file was last looked at
	file   os.FileInfo // what it was then
}

// keyCheck is how often the file is looked at: a new key ends all older tokens within a minute.
const keyCheck = 10 * time.Second

const (
	keyFile   = "token.key"
	keyBytes  = 32
	issuer    = "fabric-guild"
	keyForbid = 0o077 // no one else may read it
)

// An Identity is who a request comes from, as its token says.
type Identity struct {
	UserID  string
	Guilds  []string // those that the token is for; nil: all
	Expires time.Time
	key     string // which key signed it
}

// MayEnter reports whether the token is for a guild.
func (id Identity) MayEnter(guild string) bool {
	return id.Guilds == nil || slices.Contains(id.Guilds, guild)
}

type claims struct {
	jwt.RegisteredClaims
	GuildIDs []string `json:"guildIds,omitempty"`
}

// OpenTokens uses the key in dir, and makes one if there is none.
func OpenTokens(dir string) (*Tokens, error) {
	t := &Tokens{path: filepath.Join(dir, keyFile)}
	if _, err := t.signingKey(); errors.Is(err, fs.ErrNotExist) {
		if err := t.make(false); err != nil {
			return nil, err
		}
	}
	_, err := t.signingKey()
	return t, err
}

// Rotate makes a new key. Tokens that were signed with the old one end within a minute, here and in every
// process on the same directory.
func (t *Tokens) Rotate() error {
	if err := t.make(true); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.key = nil
	return nil
}

// make writes a key beside its place and moves it there. Unless it is to replace, a key that another
// process has put there meanwhile stays.
func (t *Tokens) make(replace bool) error {
	key := make([]byte, keyBytes)
	rand.Read(key)                                              // never fails
	f, err := os.CreateTemp(filepath.Dir(t.path), keyFile+".*") // 0600
	if err != nil {
		return fmt.Errorf("make a token key: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = fmt.Fprintln(f, hex.EncodeToString(key))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the token key: %w", err)
	}
	if replace {
		err = os.Rename(f.Name(), t.path)
	} else if err = os.Link(f.Name(), t.path); errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("put the token key in place: %w", err)
	}
	return nil
}

// signingKey is the current key.
func (t *Tokens) signingKey() ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.key != nil && time.Since(t.looked) < keyCheck {
		return t.key, nil
	}
	info, err := os.Stat(t.path)
	if err != nil {
		return nil, fmt.Errorf("the token key: %w", err)
	}
	if info.Mode().Perm()&keyForbid != 0 {
		return nil, fmt.Errorf("the token key %s can be read by others (mode %04o): chmod 600 it, and rotate it if it may have been read", t.path, info.Mode().Perm())
	}
	t.looked = time.Now()
	// A rotation puts another file in its place; times of change may be the same.
	if t.key != nil && os.SameFile(info, t.file) && info.ModTime().Equal(t.file.ModTime()) {
		return t.key, nil
	}
	b, err := os.ReadFile(t.path)
	if err != nil {
		return nil, fmt.Errorf("the token key: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf("the token key %s is damaged: remove it to get a new one", t.path)
	}
	t.key, t.file = key, info
	return key, nil
}

// Sign makes a token for user that ends after ttl; with guilds it is for those only.
func (t *Tokens) Sign(user string, guilds []string, ttl time.Duration) (string, error) {
	for _, id := range append([]string{user}, guilds...) {
		if !chat.ValidID(id) {
			return "", fmt.Errorf("%q is no id: 1 to 128 of letters, digits and . _ @ -", id)
		}
	}
	key, err := t.signingKey()
	if err != nil {
		return "", err
	}
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: user, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
		},
		GuildIDs: guilds,
	}).SignedString(key)
}

// Errors of Check.
var (
	errTokenInvalid = newProblem(401, "token_invalid", "this token was not signed here, or its key has been rotated")
	errTokenExpired = newProblem(401, "token_expired", "this token has expired: get a new one")
)

// Check tells who a token is of.
func (t *Tokens) Check(token string) (Identity, error) {
	key, err := t.signingKey()
	if err != nil {
		return Identity{}, err
	}
	var c claims
	_, err = jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(issuer), jwt.WithExpirationRequired())
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Identity{}, errTokenExpired
	case err != nil || !chat.ValidID(c.Subject):
		return Identity{}, errTokenInvalid
	}
	return Identity{UserID: c.Subject, Guilds: c.GuildIDs, Expires: c.ExpiresAt.Time, key: string(key)}, nil
}

// Revoked reports whether the key that signed for id is no longer the current one.
func (t *Tokens) Revoked(id Identity) bool {
	key, err := t.signingKey()
	return err == nil && string(key) != id.key
}
