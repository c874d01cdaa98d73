package handlers

import (
	"net/http"
	"strings"
	"time"

	"fabric-guild/events"
)

// The cookie is a browser's session: the bearer token itself, out of reach for scripts. Over TLS the prefix of
// its name has browsers take it from here alone (RFC 6265bis §4.1.3): from this host, or, where the server has
// but a part of the host's paths and the cookie is for that part, at least over TLS.
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

// caller is who a request comes from: its bearer token (RFC 6750 §2.1) or else its cookie. A change counts
// against what they may change.
func (s *Server) caller(w http.ResponseWriter, r *http.Request) (Identity, error) {
	if err := noTokenInQuery(r); err != nil {
		return Identity{}, err
	}
	token, err := bearer(r)
	if err != nil {
		return Identity{}, err
	}
	if token == "" {
		if c, err := r.Cookie(s.cookieName(r)); err == nil {
			token = c.Value
		}
	}
	if token == "" {
		return Identity{}, newProblem(http.StatusUnauthorized, "token_missing", "send a token as Authorization: Bearer TOKEN")
	}
	id, err := s.authority.Check(r.Context(), s.household(r), token)
	if err == nil && r.Method != http.MethodGet && r.Method != http.MethodHead {
		err = s.rates.take(w.Header(), id.UserID, time.Now())
	}
	return id, err
}

// bearer is the token of the Authorization header, empty without the header.
func bearer(r *http.Request) (string, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", nil
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(token) == "" {
		return "", newProblem(http.StatusUnauthorized, "token_invalid", "the Authorization header is to be Bearer and a token")
	}
	return strings.TrimSpace(token), nil
}

type meAnswer struct {
	UserID    string       `json:"userId"`
	GuildIDs  *[]string    `json:"guildIds,omitempty"` // absent: all
	ExpiresAt *events.Time `json:"expiresAt,omitempty"`
}

func (id Identity) answer() meAnswer {
	a := meAnswer{UserID: id.UserID}
	if id.Guilds != nil {
		a.GuildIDs = &id.Guilds
	}
	if !id.Expires.IsZero() {
		a.ExpiresAt = &events.Time{Time: id.Expires}
	}
	return a
}

// me tells who the caller is.
func (s *Server) me(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	if _, err := query(r); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, id.answer())
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
	var maxAge int // for as long as the browser runs
	if !id.Expires.IsZero() {
		maxAge = max(1, int(time.Until(id.Expires).Seconds()))
	}
	http.SetCookie(w, s.cookie(r, token, maxAge))
	return writeJSON(w, http.StatusOK, id.answer())
}

// closeSession takes the cookie back; without one it does nothing.
func (s *Server) closeSession(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	http.SetCookie(w, s.cookie(r, "", -1))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) cookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: s.cookieName(r), Value: value, Path: s.basePath + "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.proxies.overTLS(r),
	}
}
