package nodetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/center/centertest"
)

// A User has a token and sends requests to a node.
type User struct {
	Node      *Node
	ID, Token string
}

// User returns a user with a new token. With guilds, the token is valid for these guilds only.
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

// At returns the same user at another node.
func (u *User) At(n *Node) *User { return &User{n, u.ID, u.Token} }

// An Answer is an answer that was read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func (a Answer) String() string { return fmt.Sprintf("%d %s", a.Status, a.Body) }

// Do sends a request with a body as JSON, and checks the answer, and a body that was accepted, against the
// contract. A string is sent unchanged. headers has alternating names and values; an empty value removes a
// header.
func (u *User) Do(method, path string, body any, headers ...string) (Answer, error) {
	content, err := encoded(body)
	if err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(u.Node.T.Context(), ssetest.Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, u.Node.URL+path, bytes.NewReader(content))
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
		holdRequest(u.Node.T, method, path, content, a)
		holdAnswer(u.Node.T, method, path, a)
	}
	return a, err
}

// encoded returns a body as it is sent.
func encoded(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case string:
		return []byte(b), nil
	}
	return json.Marshal(body)
}

// Send sends a request unchanged, without a check of the answer.
func (u *User) Send(r *http.Request) (Answer, error) {
	resp, err := u.Node.Client.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return Answer{resp.StatusCode, resp.Header, b}, err
}

// Ask sends a request and decodes the answer. Another status, or a field that T does not have, is an error.
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

// Call is like Ask, but an error ends the test.
func Call[T any](t testing.TB, u *User, status int, method, path string, body any) T {
	t.Helper()
	v, err := Ask[T](u, status, method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Strictly decodes JSON. A field that v does not have is an error.
func Strictly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// Claims returns a user whose token has claims about kind and name.
func (n *Node) Claims(id string, says auth.Claim) *User {
	n.T.Helper()
	token, err := n.Tokens.SignClaim(id, nil, time.Hour, says)
	if err != nil {
		n.T.Fatal(err)
	}
	return n.As(id, token)
}
