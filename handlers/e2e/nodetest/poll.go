package nodetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"fabric-guild/events/ssetest"
)

// A PollItem is one event in the answer to a poll.
type PollItem struct {
	ID    string          `json:"id"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// A PollData is the answer to a poll.
type PollData struct {
	Items  []PollItem `json:"items"`
	Cursor string     `json:"cursor"`
	Reset  *struct {
		Reason string `json:"reason"`
	} `json:"reset"`
}

// Shown returns the name and the id of each item.
func (p PollData) Shown() []string {
	got := []string{}
	for _, i := range p.Items {
		got = append(got, i.Event+" "+i.ID)
	}
	return got
}

// Poll sends a poll. An error ends the test.
func (u *User) Poll(t *testing.T, query string) PollData {
	t.Helper()
	p, err := u.PollOver(t.Context(), u.Node.Client.Transport, query)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Polling starts a poll in a goroutine. It returns when the poll waits in the server.
func (u *User) Polling(t *testing.T, over http.RoundTripper, query string) <-chan PollData {
	t.Helper()
	before := u.Node.Router.Streams()
	answer := make(chan PollData, 1)
	go func() {
		p, err := u.PollOver(t.Context(), over, query)
		if err != nil {
			t.Error(err)
		}
		answer <- p
	}()
	if !ssetest.Await(func() bool { return u.Node.Router.Streams() > before }) {
		t.Fatal("the poll does not begin")
	}
	return answer
}

// PollOver sends a poll over a transport of the client.
func (u *User) PollOver(ctx context.Context, over http.RoundTripper, query string) (p PollData, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*ssetest.Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", u.Node.URL+"/api/events?"+query, nil)
	if err != nil {
		return p, err
	}
	r.Header.Set("Authorization", "Bearer "+u.Token)
	resp, err := over.RoundTrip(r)
	if err != nil {
		return p, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return p, err
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Control") != "no-store" ||
		!strings.Contains(string(b), `{"items":[`) {
		return p, fmt.Errorf("got %d %s, want 200, items, and no-store", resp.StatusCode, b)
	}
	return p, Strictly(b, &p)
}
