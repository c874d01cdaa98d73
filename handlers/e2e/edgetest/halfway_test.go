package edgetest_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

// dialed is a connection to the node, and what comes over it.
func dialed(t *testing.T, n *nodetest.Node) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(ssetest.Patience))
	return conn.(*net.TCPConn), bufio.NewReader(conn)
}

// To net/http a client that will send nothing more is one that is gone: what it asks for is given up. It is
// not to be told 200 then.
func TestAHalfClosedClientGetsNothingOrItsAnswer(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	id := alice.General(t, "ops").Channel.ID
	for _, tt := range []struct {
		status           int
		what, path, body string
	}{
		{http.StatusCreated, "POST", "/api/channels/" + id + "/messages", `{"content":"hi"}`},
		{http.StatusOK, "GET", "/api/channels/" + id, ""},
		{http.StatusOK, "GET", "/readyz", ""},
		{http.StatusNotFound, "GET", "/api/channels/01a20000-0000-7000-8000-000000000000", ""},
	} {
		for range 20 {
			conn, answers := dialed(t, n)
			if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+
				"%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				tt.what, tt.path, alice.Token, len(tt.body), tt.body); err != nil {
				t.Fatal(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(answers, nil)
			if errors.Is(err, io.ErrUnexpectedEOF) {
				continue // nothing
			}
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || len(body) == 0 ||
				resp.StatusCode != tt.status && resp.StatusCode != http.StatusServiceUnavailable {
				t.Fatalf("%s %s: got %s, %q and error %v, want nothing, or %d with a body", tt.what, tt.path,
					resp.Status, body, err, tt.status)
			}
		}
	}
}

func TestAnIncompleteBody(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{Tune: func(s *http.Server) { s.ReadTimeout = time.Second }})
	alice := n.User("alice")
	id := alice.General(t, "ops").Channel.ID
	conn, answers := dialed(t, n)
	if _, err := fmt.Fprintf(conn,
		"POST /api/channels/%s/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+
			"%s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		id, alice.Token); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	nodetest.WantProblem(t, nodetest.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body},
		http.StatusBadRequest, "malformed")
}
