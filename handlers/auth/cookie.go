package auth

import "net/http"

// The cookie holds a browser's session. Scripts cannot read it. Over TLS, the prefix of its name restricts
// who can set the cookie (RFC 6265bis §4.1.3). With __Host-, browsers accept it only from this host. That
// prefix requires the path "/". So a server with a base path uses __Secure-: browsers then accept the cookie
// only over TLS.
const (
	cookiePlain  = "fabric_session"
	cookieHost   = "__Host-" + cookiePlain
	cookieSecure = "__Secure-" + cookiePlain
)

// CookieName returns the name of the cookie. overTLS is true if the client's connection is encrypted.
func CookieName(overTLS bool, basePath string) string {
	switch {
	case !overTLS:
		return cookiePlain
	case basePath == "":
		return cookieHost
	}
	return cookieSecure
}

// Cookie returns the cookie with a value. It lasts maxAge seconds; 0 means until the browser closes, and -1
// deletes the cookie.
func Cookie(overTLS bool, basePath, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: CookieName(overTLS, basePath), Value: value, Path: basePath + "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: overTLS,
	}
}
