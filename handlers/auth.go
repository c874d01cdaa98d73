package handlers

import (
	"net/http"
	"strings"

	"fabric-guild/events"
	"fabric-guild/handlers/web"
)

// caller identifies the user that a request comes from, by the bearer token (RFC 6750 §2.1) or else by the
// cookie. It also charges the request to the user's rate limit, and waits for one of the user's places for
// concurrent requests (admit). The error is a *web.Problem, or a fault of the server.
func (s *Server) caller(w http.ResponseWriter, r *http.Request) (Identity, error) {
	if err := web.NoTokenInQuery(r); err != nil {
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

// credentials returns the token of a request, and the session if the token came in a cookie. If the
// Authorization header has another scheme than Bearer, the cookie still counts: a proxy before the server may
// use that header for its own authentication.
func (s *Server) credentials(r *http.Request) (session sessionID, token string, err error) {
	token, err = bearer(r)
	if token != "" || err != nil && scheme(r) == "bearer" {
		return session, token, err
	}
	if c, none := r.Cookie(s.cookieName(r)); none == nil {
		return s.sessions.open(c.Value)
	}
	if err == nil {
		err = web.NewProblem(http.StatusUnauthorized, "token_missing", "send a token as Authorization: Bearer TOKEN")
	}
	return session, "", err
}

// scheme returns the scheme of the Authorization header, in lower case.
func scheme(r *http.Request) string {
	name, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.ToLower(name)
}

// bearer returns the token of the Authorization header, or "" if there is no such header. It returns an error
// for a header of another form.
func bearer(r *http.Request) (string, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", nil
	}
	_, token, _ := strings.Cut(header, " ")
	if scheme(r) != "bearer" || strings.TrimSpace(token) == "" {
		return "", web.NewProblem(http.StatusUnauthorized, "token_invalid", "the Authorization header must be Bearer and a token")
	}
	return strings.TrimSpace(token), nil
}

type meAnswer struct {
	UserID    string       `json:"userId"`
	GuildIDs  *[]string    `json:"guildIds,omitempty"` // nil: the token is for all guilds
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

// me answers with the caller's user id, the guilds of the token, and the token's expiry.
func (s *Server) me(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	if _, err := web.Query(r); err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, id.answer())
}
