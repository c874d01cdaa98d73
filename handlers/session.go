package handlers

import (
	"net/http"
	"time"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/web"
)

// caller identifies the user that a request comes from, by the bearer token (RFC 6750 §2.1) or else by the
// cookie. It also charges the request to the user's rate limit, and waits for one of the user's places for
// concurrent requests (admit), and stores what the authority says of the user (tell). The error is a
// *web.Problem, or a fault of the server.
func (s *Server) caller(w http.ResponseWriter, r *http.Request) (auth.Identity, error) {
	if err := web.NoTokenInQuery(r); err != nil {
		return auth.Identity{}, err
	}
	session, token, err := auth.Credentials(r, s.cookieName(r), s.sessions)
	if err != nil {
		return auth.Identity{}, err
	}
	id, err := s.authority.Check(r.Context(), s.proxies.Household(r), token)
	id.Session = session
	if err == nil {
		err = s.admit(w, r, id.UserID)
	}
	if err == nil {
		err = s.tell(r.Context(), id)
	}
	return id, err
}

type meAnswer struct {
	userItem
	GuildIDs  *[]string    `json:"guildIds,omitempty"` // nil: the token is for all guilds
	ExpiresAt *events.Time `json:"expiresAt,omitempty"`
}

func answerMe(id auth.Identity, u db.User) meAnswer {
	a := meAnswer{userItem: userItem{u.ID, u.Kind, u.DisplayName}}
	if id.Guilds != nil {
		a.GuildIDs = &id.Guilds
	}
	if !id.Expires.IsZero() {
		a.ExpiresAt = &events.Time{Time: id.Expires}
	}
	return a
}

func (s *Server) cookieName(r *http.Request) string {
	return auth.CookieName(s.proxies.OverTLS(r), s.basePath)
}

// me answers with what is known of the caller, the guilds of the token, and the token's expiry.
func (s *Server) me(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	if _, err := web.Query(r); err != nil {
		return err
	}
	u, err := s.db.User(r.Context(), id.UserID)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, answerMe(id, u))
}

// openSession opens a session for the bearer token of a browser, and sets the cookie.
func (s *Server) openSession(w http.ResponseWriter, r *http.Request) error {
	token, err := auth.Bearer(r)
	if err != nil {
		return err
	}
	if token == "" {
		return web.NewProblem(http.StatusUnauthorized, "token_missing",
			"send the token to sign in with as Authorization: Bearer TOKEN")
	}
	id, err := s.authority.Check(r.Context(), s.proxies.Household(r), token)
	if err != nil {
		return err
	}
	if err := s.admit(w, r, id.UserID); err != nil {
		return err
	}
	if _, err := web.Query(r); err != nil {
		return err
	}
	if err := s.tell(r.Context(), id); err != nil {
		return err
	}
	u, err := s.db.User(r.Context(), id.UserID)
	if err != nil {
		return err
	}
	value, err := s.sessions.Seal(token)
	if err != nil {
		return err
	}
	var maxAge int // 0: the cookie lasts until the browser closes
	if !id.Expires.IsZero() {
		maxAge = max(1, int(time.Until(id.Expires).Seconds()))
	}
	http.SetCookie(w, auth.Cookie(s.proxies.OverTLS(r), s.basePath, value, maxAge))
	return web.WriteJSON(w, http.StatusOK, answerMe(id, u))
}

// closeSession closes the session of the cookie, ends the session's streams, and deletes the cookie. It tells
// the other servers to do the same. Without a valid cookie it only deletes the cookie.
func (s *Server) closeSession(w http.ResponseWriter, r *http.Request) error {
	if _, err := web.Query(r); err != nil {
		return err
	}
	if c, err := r.Cookie(s.cookieName(r)); err == nil {
		if id, _, err := s.sessions.Open(c.Value); err == nil {
			s.sessions.Close(id)
			s.db.TellClosed(r.Context(), id)
		}
	}
	http.SetCookie(w, auth.Cookie(s.proxies.OverTLS(r), s.basePath, "", -1))
	w.WriteHeader(http.StatusNoContent)
	return nil
}
