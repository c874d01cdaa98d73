package handlers

import (
	"net/http"
	"strings"

	"fabric-guild/events"
)

// caller is who a request comes from: its bearer token (RFC 6750 §2.1) or else its cookie. The request counts
// against what they may ask for.
func (s *Server) caller(w http.ResponseWriter, r *http.Request) (Identity, error) {
	if err := noTokenInQuery(r); err != nil {
		return Identity{}, err
	}
	session, token, err := s.credentials(r)
	if err != nil {
		return Identity{}, err
	}
	id, err := s.authority.Check(r.Context(), s.household(r), token)
	id.session = session
	if err == nil {
		err = s.admit(w, r, id.UserID)
	}
	return id, err
}

// credentials are the token of a request, and the session if it came in a cookie. Another scheme in the Authorization
// header, such as that of a proxy before the server, does not hide the cookie.
func (s *Server) credentials(r *http.Request) (session sessionID, token string, err error) {
	token, err = bearer(r)
	if token != "" || err != nil && scheme(r) == "bearer" {
		return session, token, err
	}
	if c, none := r.Cookie(s.cookieName(r)); none == nil {
		return s.sessions.open(c.Value)
	}
	if err == nil {
		err = newProblem(http.StatusUnauthorized, "token_missing", "send a token as Authorization: Bearer TOKEN")
	}
	return session, "", err
}

// scheme is that of the Authorization header, in lower case.
func scheme(r *http.Request) string {
	name, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.ToLower(name)
}

// bearer is the token of the Authorization header, empty without the header.
func bearer(r *http.Request) (string, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", nil
	}
	_, token, _ := strings.Cut(header, " ")
	if scheme(r) != "bearer" || strings.TrimSpace(token) == "" {
		return "", newProblem(http.StatusUnauthorized, "token_invalid", "the Authorization header must be Bearer and a token")
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
