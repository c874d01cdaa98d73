package handlers

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sync"
	"time"
)

// The cookie is a browser's session, out of reach for scripts. Over TLS the prefix of its name has browsers take it
// from here alone (RFC 6265bis §4.1.3): from this host, or, where the server has but a part of the host's paths and
// the cookie is for that part, at least over TLS.
const (
	cookiePlain  = "fabric_session"
	cookieHost   = "__Host-" + cookiePlain
	cookieSecure = "__Secure-" + cookiePlain
)

func (s *Server) cookieName(r *http.Request) string {
	switch {
	case !s.proxies.overTLS(r):
		return cookiePlain
	case s.basePath == "":
		return cookieHost
	}
	return cookieSecure
}

func (s *Server) cookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: s.cookieName(r), Value: value, Path: s.basePath + "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.proxies.overTLS(r),
	}
}

// A sessionID is a random number that tells sessions of the same token apart. The zero sessionID means no session.
type sessionID [16]byte

// sessions makes the values of cookies, and ends sessions.
//
// A browser sends a cookie to every server on the same host, whatever its port, so the value must not be the token.
// It is the id of the session and the token, sealed with a key that only the servers of this guild know. Thus every
// server behind a proxy reads it, also after a restart, without a table that each request would have to ask; it
// is no bearer token; and it is worth nothing without its token, whose end or revocation ends the session too. What
// has no place in it is that the session was closed: the server that closed a session remembers that, others do not.
type sessions struct {
	secret func() ([]byte, error) // of all servers of the guild

	mu      sync.Mutex
	madeOf  string // the secret that sealing is made of
	sealing cipher.AEAD
	streams map[sessionID]map[*listener]struct{}
	closed  map[sessionID]struct{}
	order   []sessionID // of closed, a ring
	next    int         // of order
}

// closedSessions bounds how many closed sessions are remembered; beyond it the oldest is forgotten.
const closedSessions = 16 << 10

func newSessions(secret func() ([]byte, error)) *sessions {
	return &sessions{secret: secret, streams: map[sessionID]map[*listener]struct{}{}, closed: map[sessionID]struct{}{}}
}

// cipher is made of the secret as it now is: a new one ends all sessions.
func (x *sessions) cipher() (cipher.AEAD, error) {
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

// seal makes the value of a cookie for a new session of a token.
func (x *sessions) seal(token string) (string, error) {
	sealing, err := x.cipher()
	if err != nil {
		return "", err
	}
	var id sessionID
	rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(sealing.Seal(nil, nil, append(id[:], token...), nil)), nil
}

// open is the session in the value of a cookie and its token. The error is errTokenInvalid for what is none, or
// is closed.
func (x *sessions) open(value string) (id sessionID, token string, err error) {
	sealing, err := x.cipher()
	if err != nil {
		return sessionID{}, "", err
	}
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return sessionID{}, "", errTokenInvalid
	}
	plain, err := sealing.Open(nil, nil, sealed, nil)
	if err != nil || len(plain) < len(id) {
		return sessionID{}, "", errTokenInvalid
	}
	copy(id[:], plain)
	if x.isClosed(id) {
		return sessionID{}, "", errTokenInvalid
	}
	return id, string(plain[len(id):]), nil
}

func (x *sessions) isClosed(id sessionID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, ok := x.closed[id]
	return ok
}

// join notes that l is about to have a stream of a session, until it parts.
func (x *sessions) join(l *listener) {
	id := l.id.session
	if id == (sessionID{}) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.streams[id] == nil {
		x.streams[id] = map[*listener]struct{}{}
	}
	x.streams[id][l] = struct{}{}
}

func (x *sessions) part(l *listener) {
	id := l.id.session
	if id == (sessionID{}) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if delete(x.streams[id], l); len(x.streams[id]) == 0 {
		delete(x.streams, id)
	}
}

// close closes a session, and returns the listeners whose streams must end.
func (x *sessions) close(id sessionID) (had []*listener) {
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
	for l := range x.streams[id] {
		had = append(had, l)
	}
	return had
}

// openSession gives a browser a cookie for its bearer token.
func (s *Server) openSession(w http.ResponseWriter, r *http.Request) error {
	token, err := bearer(r)
	if err != nil {
		return err
	}
	if token == "" {
		return newProblem(http.StatusUnauthorized, "token_missing", "send the token to sign in with as Authorization: Bearer TOKEN")
	}
	id, err := s.authority.Check(r.Context(), s.household(r), token)
	if err != nil {
		return err
	}
	if _, err := query(r); err != nil {
		return err
	}
	value, err := s.sessions.seal(token)
	if err != nil {
		return err
	}
	var maxAge int // for as long as the browser runs
	if !id.Expires.IsZero() {
		maxAge = max(1, int(time.Until(id.Expires).Seconds()))
	}
	http.SetCookie(w, s.cookie(r, value, maxAge))
	return writeJSON(w, http.StatusOK, id.answer())
}

// closeSession ends the session of the cookie with its streams, and takes the cookie back. Without a valid cookie
// there is no session to end.
func (s *Server) closeSession(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	if c, err := r.Cookie(s.cookieName(r)); err == nil {
		if id, _, err := s.sessions.open(c.Value); err == nil {
			for _, l := range s.sessions.close(id) {
				l.revoke()
			}
		}
	}
	http.SetCookie(w, s.cookie(r, "", -1))
	w.WriteHeader(http.StatusNoContent)
	return nil
}
