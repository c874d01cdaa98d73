// Package remote has what the commands share that use a server from outside: the flags for its URL and the
// token, errors and exit codes, the backoff, and the shell commands that they run.
package remote

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
)

// An Account is a user of a server, as the flags name it.
type Account struct {
	URL string // of the server, with its prefix; after Check without a slash at the end

	token, tokenFile string

	last atomic.Pointer[string] // the latest token in the file; nil: none was read yet
}

// Flags defines the flags of the account.
func (a *Account) Flags(f *flag.FlagSet) {
	f.StringVar(&a.URL, "url", "http://127.0.0.1:8080", "`URL` of the server, with its prefix")
	f.StringVar(&a.token, "token", "", "your `token`; safer in the environment than on the command line")
	f.StringVar(&a.tokenFile, "token-file", "",
		"`file` with the token, instead of -token; it is read before each request, so you can "+
			"renew the token")
}

// Check completes the values of the flags, or returns what is wrong with them. Its errors never contain a
// token.
func (a *Account) Check() error {
	u, err := url.Parse(a.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("-url: must be a URL like https://chat.example")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("-url: must have no user, no query and no fragment")
	case a.token == "" && a.tokenFile == "":
		return errors.New("no token: set FABRIC_BACKEND_GUILD_TOKEN or pass -token-file")
	}
	a.URL = strings.TrimRight(a.URL, "/")
	return nil
}

// Token returns the current token. A file that has no token for a moment, because somebody writes it, still
// stands for its last token. Errors never contain the token. Any goroutine may call Token.
func (a *Account) Token() (string, error) {
	if a.tokenFile == "" {
		return word(a.token, "the token")
	}
	token, err := readToken(a.tokenFile)
	switch last := a.last.Load(); {
	case err == nil:
		a.last.Store(&token)
	case last != nil:
		return *last, nil
	}
	return token, err
}

func readToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("the token: %w", err)
	}
	return word(string(b), file)
}

// word returns the token in a text that comes from a source with this name.
func word(text, from string) (string, error) {
	token := strings.TrimSpace(text)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s: a token must be one word of visible ASCII characters", from)
	}
	return token, nil
}

// NewTransport returns a transport that uses only HTTP/1.1, through the proxy of the environment. With
// HTTP/2, a request after a connection fell silent would use the same dead connection. The transport does not
// ask for compression, which could delay events.
func NewTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.DisableCompression = true
	return t
}

// NewHTTPClient returns a client that follows no redirects: a redirect could send the token to another
// server.
func NewHTTPClient(transport http.RoundTripper) *http.Client {
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// Cause returns the reason of an error of a request, without the URL.
func Cause(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
