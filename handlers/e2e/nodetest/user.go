package nodetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/center/centertest"
)

// A user is someone with a token, and the node that they speak to.
type User struct {
	Node      *Node
	ID, Token string
}

func (n *Node) User(id string, guilds ...string) *User {
	n.T.Helper()
	if n.Center != nil {
		token := "token-of-" + id
		n.Center.SetToken(token, centertest.Token{UserID: id, Guilds: guilds})
		return n.As(id, token)
	}
	token, err := n.Tokens.Sign(id, guilds, time.Hour)
	if err != nil {
		n.T.Fatal(err)
	}
	return n.As(id, token)
}

// As returns a user with this token. It may be empty or invalid.
func (n *Node) As(id, token string) *User { return &User{n, id, token} }

// At is the same user at another node.
func (u *User) At(n *Node) *User { return &User{n, u.ID, u.Token} }

type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func (a Answer) String() string { return fmt.Sprintf("%d %s", a.Status, a.Body) }

// Do sends a request as JSON; a string goes as it is. headers are names and values by turns.
func (u *User) Do(method, path string, body any, headers ...string) (Answer, error) {
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return Answer{}, err
		}
		content = bytes.NewReader(encoded)
	}
	ctx, cancel := context.WithTimeout(u.Node.T.Context(), ssetest.Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, u.Node.URL+path, content)
	if err != nil {
		return Answer{}, err
	}
	if u.Token != "" {
		r.Header.Set("Authorization", "Bearer "+u.Token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if r.Header.Set(headers[i], headers[i+1]); headers[i+1] == "" {
			r.Header.Del(headers[i])
		}
	}
	a, err := u.Send(r)
	if err == nil {
		holdAnswer(u.Node.T, method, path, a)
	}
	return a, err
}

// Send sends a request as it is.
func (u *User) Send(r *http.Request) (Answer, error) {
	resp, err := u.Node.Client.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return Answer{resp.StatusCode, resp.Header, b}, err
}

// Ask is do for a status and a shape: an answer that differs in either is an error.
func Ask[T any](u *User, status int, method, path string, body any) (v T, err error) {
	a, err := u.Do(method, path, body)
	if err != nil {
		return v, err
	}
	if a.Status != status {
		return v, fmt.Errorf("%s: %s %s: got %v, want status %d", u.ID, method, path, a, status)
	}
	if err := Strictly(a.Body, &v); err != nil {
		return v, fmt.Errorf("%s: %s %s: %w: %v", u.ID, method, path, err, a)
	}
	return v, nil
}

// Call is ask on the test's own goroutine.
func Call[T any](t testing.TB, u *User, status int, method, path string, body any) T {
	t.Helper()
	v, err := Ask[T](u, status, method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Strictly decodes JSON whose every member is known.
func Strictly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// Claims returns a user whose token says something of the user.
func (n *Node) Claims(id string, says auth.Claim) *User {
	n.T.Helper()
	token, err := n.Tokens.SignClaim(id, nil, time.Hour, says)
	if err != nil {
		n.T.Fatal(err)
	}
	return n.As(id, token)
}
