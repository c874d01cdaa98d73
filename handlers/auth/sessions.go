package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
)

// A SessionID is a random number that tells sessions of the same token apart. The zero SessionID means no
// session.
type SessionID [16]byte

// A Stream is one that ends when its session is closed. Revoke must not block.
type Stream interface{ Revoke() }

// Sessions makes and reads the values of cookies, and closes sessions.
//
// A browser sends a cookie to every server on the same host, on any port, so the value must not be the token.
// The value is the id of the session and the token, encrypted with a key that only the servers of this guild
// know. This has three advantages. Every server behind a proxy can read the value, also after a restart, and
// no request needs to look up a table. The value is not a bearer token. And the session ends when its token
// expires or is revoked.
//
// The value cannot say that the session was closed. The server that closed the session remembers that, and
// tells the other servers. One that does not hear it does not know.
type Sessions struct {
	secret func() ([]byte, error) // shared by all servers of the guild

	mu      sync.Mutex
	madeOf  string // the secret from which sealing was derived
	sealing cipher.AEAD
	streams map[SessionID]map[Stream]struct{}
	closed  map[SessionID]struct{}
	order   []SessionID // the keys of closed, as a ring
	next    int         // the index of the oldest one in order, once order is full
}

// closedSessions limits how many closed sessions a server remembers. Over that limit it forgets the oldest
// one.
const closedSessions = 16 << 10

// NewSessions returns sessions whose cookies are encrypted with a key that is derived from secret.
func NewSessions(secret func() ([]byte, error)) *Sessions {
	return &Sessions{
		secret: secret, streams: map[SessionID]map[Stream]struct{}{},
		closed: map[SessionID]struct{}{},
	}
}

// cipher returns the cipher that is derived from the current secret. A new secret makes every older cookie
// unreadable, and so ends all sessions.
func (x *Sessions) cipher() (cipher.AEAD, error) {
	secret, err := x.secret()
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sealing != nil && x.madeOf == string(secret) {
		return x.sealing, nil
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "fabric-guild session cookie", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if x.sealing, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, err
	}
	x.madeOf = string(secret)
	return x.sealing, nil
}

// Seal returns the value of a cookie for a new session of a token.
func (x *Sessions) Seal(token string) (string, error) {
	sealing, err := x.cipher()
	if err != nil {
		return "", err
	}
	var id SessionID
	rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(sealing.Seal(nil, nil, append(id[:], token...), nil)), nil
}

// Open returns the session in the value of a cookie, and the session's token. The error is ErrTokenInvalid if
// the value is not valid or the session is closed. Any other error is a fault of the server.
func (x *Sessions) Open(value string) (id SessionID, token string, err error) {
	sealing, err := x.cipher()
	if err != nil {
		return SessionID{}, "", err
	}
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return SessionID{}, "", ErrTokenInvalid
	}
	plain, err := sealing.Open(nil, nil, sealed, nil)
	if err != nil || len(plain) < len(id) {
		return SessionID{}, "", ErrTokenInvalid
	}
	copy(id[:], plain)
	if x.IsClosed(id) {
		return SessionID{}, "", ErrTokenInvalid
	}
	return id, string(plain[len(id):]), nil
}

// IsClosed reports whether the server remembers that the session was closed.
func (x *Sessions) IsClosed(id SessionID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, ok := x.closed[id]
	return ok
}

// Join records that a session is about to open a stream, so that Close revokes it. The caller must call Part
// when the stream ends. Join does nothing for the zero SessionID.
func (x *Sessions) Join(id SessionID, s Stream) {
	if id == (SessionID{}) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.streams[id] == nil {
		x.streams[id] = map[Stream]struct{}{}
	}
	x.streams[id][s] = struct{}{}
}

// Part undoes Join.
func (x *Sessions) Part(id SessionID, s Stream) {
	if id == (SessionID{}) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if delete(x.streams[id], s); len(x.streams[id]) == 0 {
		delete(x.streams, id)
	}
}

// Close closes a session and revokes its streams. It does nothing if the session is closed already.
func (x *Sessions) Close(id SessionID) {
	for _, s := range x.forget(id) {
		s.Revoke()
	}
}

// forget remembers that a session is closed, and returns the streams that the caller must revoke, without the
// lock.
func (x *Sessions) forget(id SessionID) (had []Stream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, again := x.closed[id]; again {
		return nil
	}
	if len(x.order) < closedSessions {
		x.order = append(x.order, id)
	} else {
		delete(x.closed, x.order[x.next])
		x.order[x.next] = id
		x.next = (x.next + 1) % closedSessions
	}
	x.closed[id] = struct{}{}
	for s := range x.streams[id] {
		had = append(had, s)
	}
	return had
}
