package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"fabric-guild/events"
	"fabric-guild/handlers/chat"
	"fabric-guild/handlers/web"

	"github.com/golang-jwt/jwt/v5"
)

// Tokens is the program's own authority. It signs and checks tokens (JWT, HS256) with a key in the state
// directory. It is safe for concurrent use.
type Tokens struct {
	key *KeyFile

	mu       sync.Mutex
	signedBy string                         // the key that signed the tokens in known
	known    map[[sha256.Size]byte]Identity // checked tokens, by their hashes
}

// knownTokens limits how many checked tokens are remembered.
const knownTokens = 32 << 10

const tokenKeyFile = "token.key"

const issuer = "fabric-guild"

type claims struct {
	jwt.RegisteredClaims
	GuildIDs []string        `json:"guildIds,omitempty"`
	Kind     events.UserKind `json:"kind,omitempty"`
	Name     string          `json:"name,omitempty"` // the display name
}

// says returns what the token says of its user. It leaves out what is not valid.
func (c *claims) says() (says Claim) {
	if slices.Contains(events.UserKinds, c.Kind) {
		says.Kind = c.Kind
	}
	if chat.ValidDisplayName(c.Name) {
		says.Name = c.Name
	}
	if c.IssuedAt != nil {
		says.IssuedAt = c.IssuedAt.Unix()
	}
	return says
}

// OpenTokens opens the key in dir. It makes a key if there is none.
func OpenTokens(dir string) (*Tokens, error) {
	key, err := openKeyFile(filepath.Join(dir, tokenKeyFile))
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	return &Tokens{key: key}, nil
}

// Fresh reports whether OpenTokens made the key.
func (t *Tokens) Fresh() bool { return t.key.made }

// KeyFile returns the file of the key.
func (t *Tokens) KeyFile() *KeyFile { return t.key }

// Rotate makes a new key. Tokens that the old key signed stop being valid within a minute, in this process
// and in every other process with the same directory.
func (t *Tokens) Rotate() error { return t.key.replace() }

// Sign returns a token for user that expires after ttl, rounded up to the end of a second. If guilds is not
// nil, the token is for these guilds only. It returns an error if an id is not valid, or if guilds is empty
// but not nil.
func (t *Tokens) Sign(user string, guilds []string, ttl time.Duration) (string, error) {
	return t.SignClaim(user, guilds, ttl, Claim{})
}

// SignClaim is like Sign, for a token that also says what the user is. IssuedAt of the claim is not used: the
// token is issued now. It returns an error if the display name is not valid.
func (t *Tokens) SignClaim(user string, guilds []string, ttl time.Duration, says Claim) (string, error) {
	if says.Name != "" && !chat.ValidDisplayName(says.Name) {
		return "", fmt.Errorf("%q is no display name: 1 to %d characters, something visible among them, "+
			"and no control character or mark that sets the direction of text", says.Name,
			chat.MaxDisplayName)
	}
	for _, id := range append([]string{user}, guilds...) {
		if !chat.ValidID(id) {
			return "", fmt.Errorf("%q is no id: 1 to 128 of letters, digits and . _ @ -", id)
		}
	}
	if guilds != nil && len(guilds) == 0 {
		return "", errors.New("the list of guilds is empty, so the token would give access to nothing")
	}
	key, err := t.key.Current()
	if err != nil {
		return "", err
	}
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: user, IssuedAt: jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(ttl + time.Second - 1)), // which cuts the fraction off
		},
		GuildIDs: guilds, Kind: says.Kind, Name: says.Name,
	}).SignedString(key)
}

// The problems of a token that cannot be used.
var (
	ErrTokenInvalid = web.NewProblem(http.StatusUnauthorized, "token_invalid",
		"this token is not known, or has been revoked")
	errTokenExpired = web.NewProblem(http.StatusUnauthorized, "token_expired",
		"this token has expired: get a new one")
)

// Check implements Authority. It does not block on the network.
func (t *Tokens) Check(_ context.Context, _ netip.Addr, token string) (Identity, error) {
	key, err := t.key.Current()
	if err != nil {
		return Identity{}, err
	}
	id, err := t.checkWith(key, token)
	if !errors.Is(err, errOtherKey) {
		return id, err
	}
	// Another process may have made a new key a moment ago. Its tokens must be valid at once.
	t.key.Recheck()
	newer, err := t.key.Current()
	if err != nil {
		return Identity{}, err
	}
	if id, err = t.checkWith(newer, token); errors.Is(err, errOtherKey) {
		return Identity{}, ErrTokenInvalid
	}
	return id, err
}

// errOtherKey means that a token was signed with another key, or that it is forged.
var errOtherKey = errors.New("signed with another key")

// checkWith checks a token with a key. The error is errOtherKey or a *web.Problem.
func (t *Tokens) checkWith(key []byte, token string) (Identity, error) {
	hash := sha256.Sum256([]byte(token))
	if id, ok := t.remembered(hash, string(key)); ok {
		if !time.Now().Before(id.Expires) {
			return Identity{}, errTokenExpired
		}
		return id, nil
	}
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(issuer),
		jwt.WithExpirationRequired())
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return Identity{}, errOtherKey
	case errors.Is(err, jwt.ErrTokenExpired):
		return Identity{}, errTokenExpired
	case err != nil || !chat.ValidID(c.Subject):
		return Identity{}, ErrTokenInvalid
	}
	return t.remember(hash, string(key), Identity{
		UserID: c.Subject, Guilds: c.GuildIDs, Expires: c.ExpiresAt.Time, Says: c.says(),
	}), nil
}

// remembered returns the identity of a token that was checked before with the same key. The identity may have
// expired.
func (t *Tokens) remembered(hash [sha256.Size]byte, key string) (Identity, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, ok := t.known[hash]
	return id, ok && t.signedBy == key
}

// remember stores the identity of a token that was checked with key, and returns the identity with the key as
// its proof. It forgets all other tokens if the key has changed or if there are knownTokens of them.
func (t *Tokens) remember(hash [sha256.Size]byte, key string, id Identity) Identity {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil || t.signedBy != key || len(t.known) >= knownTokens {
		t.signedBy, t.known = key, map[[sha256.Size]byte]Identity{}
	}
	id.proof = t.signedBy // all identities share one string
	t.known[hash] = id
	return id
}

// Revoked implements Authority. A new key revokes all tokens that the old key signed.
func (t *Tokens) Revoked(_ context.Context, id Identity) bool {
	key, err := t.key.Current()
	return err == nil && string(key) != id.proof
}
