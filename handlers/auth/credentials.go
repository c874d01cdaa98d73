package auth

import (
	"net/http"
	"strings"

	"fabric-guild/handlers/web"
)

// Credentials returns the token of a request, and the session if the token came in the cookie cookieName. If
// the Authorization header has another scheme than Bearer, the cookie still counts: a proxy before the server
// may use that header for its own authentication. The error is a *web.Problem, or a fault of the server.
func Credentials(
	r *http.Request, cookieName string, sessions *Sessions,
) (session SessionID, token string, err error) {
	token, err = Bearer(r)
	if token != "" || err != nil && scheme(r) == "bearer" {
		return session, token, err
	}
	if c, none := r.Cookie(cookieName); none == nil {
		return sessions.Open(c.Value)
	}
	if err == nil {
		err = web.NewProblem(http.StatusUnauthorized, "token_missing",
			"send a token as Authorization: Bearer TOKEN")
	}
	return session, "", err
}

// scheme returns the scheme of the Authorization header, in lower case.
func scheme(r *http.Request) string {
	name, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.ToLower(name)
}

// Bearer returns the token of the Authorization header, or "" if there is no such header. It returns an error
// for a header of another form.
func Bearer(r *http.Request) (string, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", nil
	}
	_, token, _ := strings.Cut(header, " ")
	if scheme(r) != "bearer" || strings.TrimSpace(token) == "" {
		return "", web.NewProblem(http.StatusUnauthorized, "token_invalid",
			"the Authorization header must be Bearer and a token")
	}
	return strings.TrimSpace(token), nil
}
