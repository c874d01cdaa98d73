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

	"fabric-guild/handlers/web"
)

// The cookie holds a browser's session. Scripts cannot read it. Over TLS, the prefix of its name restricts
// who can set the cookie (RFC 6265bis §4.1.3). With __Host-, browsers accept it only from this host. That
// prefix requires the path "/". So a server with a base path uses __Secure-: browsers then accept the cookie
// only over TLS.
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

// A sessionID is a random number that tells sessions of the same token apart. The zero sessionID means no
// session.
type sessionID [16]byte

// sessions makes and reads the values of cookies, and closes sessions.
//
// A browser sends a cookie to every server on the same host, on any port, so the value must not be the token.
// The value is the id of the session and the token, encrypted with a key that only the servers of this guild
// know. This has three advantages. Every server behind a proxy can read the value, also after a restart, and
// no request needs to look up a table. The value is not a bearer token. And the session ends when its token
// expires or is revoked.
//
// The value cannot say that the session was closed. The server that closed the session remembers that. Other
// servers do not know it.
type sessions struct {
	secret func() ([]byte, error) // shared by all servers of the guild

	mu      sync.Mutex
	madeOf  string // the secret from which sealing was derived
	sealing cipher.AEAD
	streams map[sessionID]map[*listener]struct{}
	closed  map[sessionID]struct{}
	order   []sessionID // the keys of closed, as a ring
	next    int         // the index of the oldest one in order, once order is full
}

// closedSessions limits how many closed sessions a server remembers. Over that limit it forgets the oldest
// one.
const closedSessions = 16 << 10

func newSessions(secret func() ([]byte, error)) *sessions {
	return &sessions{secret: secret, streams: map[sessionID]map[*listener]struct{}{}, closed: map[sessionID]struct{}{}}
}

// cipher returns the cipher that is derived from the current secret. A new secret makes every older cookie
// unreadable, and so ends all sessions.
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

// seal returns the value of a cookie for a new session of a token.
func (x *sessions) seal(token string) (string, error) {
	sealing, err := x.cipher()
	if err != nil {
		return "", err
	}
	var id sessionID
	rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(sealing.Seal(nil, nil, append(id[:], token...), nil)), nil
}

// open returns the session in the value of a cookie, and the session's token. The error is errTokenInvalid if
// the value is not valid or the session is closed. Any other error is a fault of the server.
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

// join records that l is about to open a stream of its session, so that close returns l. The caller must call
// part when the stream ends. join does nothing if l has no session.
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

// part undoes join.
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

// close closes a session and returns the listeners whose streams the caller must end. It returns nothing if
// the session is closed already.
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

// openSession opens a session for the bearer token of a browser, and sets the cookie.
func (s *Server) openSession(w http.ResponseWriter, r *http.Request) error {
	token, err := bearer(r)
	if err != nil {
		return err
	}
	if token == "" {
		return web.NewProblem(http.StatusUnauthorized, "token_missing", "send the token to sign in with as Authorization: Bearer TOKEN")
	}
	id, err := s.authority.Check(r.Context(), s.household(r), token)
	if err != nil {
		return err
	}
	if _, err := web.Query(r); err != nil {
		return err
	}
	value, err := s.sessions.seal(token)
	if err != nil {
		return err
	}
	var maxAge int // 0: the cookie lasts until the browser closes
	if !id.Expires.IsZero() {
		maxAge = max(1, int(time.Until(id.Expires).Seconds()))
	}
	http.SetCookie(w, s.cookie(r, value, maxAge))
	return web.WriteJSON(w, http.StatusOK, id.answer())
}

// closeSession closes the session of the cookie, ends the session's streams, and deletes the cookie. Without
// a valid cookie it only deletes the cookie.
func (s *Server) closeSession(w http.ResponseWriter, r *http.Request) error {
	if _, err := web.Query(r); err != nil {
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
