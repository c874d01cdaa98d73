package edgetest_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/guildtest"
	"fabric-guild/handlers/e2e/nodetest"
)

// served is the certificate that a node shows, as a client of this configuration sees it.
func served(t *testing.T, n *nodetest.Node, config *tls.Config) (leaf []byte, proto string, err error) {
	t.Helper()
	_, addr, _ := strings.Cut(n.URL, "://")
	config.InsecureSkipVerify = true
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = conn.Close() }()
	state := conn.ConnectionState()
	return state.PeerCertificates[0].Raw, state.NegotiatedProtocol, nil
}

func TestTLSVersionsAndProtocols(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{TLS: true})
	for _, tt := range []struct {
		version uint16
		offers  []string
		proto   string
		refused bool
	}{
		{tls.VersionTLS13, []string{"h2", "http/1.1"}, "h2", false},
		{tls.VersionTLS12, []string{"h2", "http/1.1"}, "h2", false},
		{tls.VersionTLS13, []string{"http/1.1"}, "http/1.1", false},
		{tls.VersionTLS13, nil, "", false},
		{tls.VersionTLS13, []string{"h3"}, "", true},
		{tls.VersionTLS11, nil, "", true},
		{tls.VersionTLS10, nil, "", true},
	} {
		_, proto, err := served(t, n, &tls.Config{
			MinVersion: tls.VersionTLS10, MaxVersion: tt.version,
			NextProtos: tt.offers,
		})
		if (err != nil) != tt.refused || proto != tt.proto {
			t.Errorf("%s, %v: got %q and error %v, want %q", tls.VersionName(tt.version), tt.offers, proto,
				err, tt.proto)
		}
	}
	plain := n.User("alice")
	n.URL = "http" + strings.TrimPrefix(n.URL, "https")
	if a, err := plain.Do("GET", "/api/me", nil); err != nil || a.Status != 400 {
		t.Errorf("without TLS: got %v and error %v, want 400", a, err)
	}
}

// The operator's command recognizes the server by the certificate in the file. The names in it do not matter.
func TestTheOperatorKnowsTheServer(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{TLS: true})
	_, addr, _ := strings.Cut(n.URL, "://")
	certFile, _ := nodetest.OwnPair().Write(t, t.TempDir())
	other, keyFile := guildtest.NewPair().Write(t, t.TempDir())
	if a, err := handlers.RequestRefresh(t.Context(), n.State, addr, "", certFile); err != nil || !a.OK {
		t.Errorf("got %+v and error %v, want an answer", a, err)
	}
	for _, wrong := range []string{other, "", keyFile, filepath.Join(n.State, "none")} {
		if a, err := handlers.RequestRefresh(t.Context(), n.State, addr, "", wrong); err == nil {
			t.Errorf("%s: got %+v, want an error: this is another server", wrong, a)
		}
	}
}

// A tap keeps what is read from a connection.
type tap struct {
	net.Conn
	read bytes.Buffer
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.read.Write(b[:n])
	return n, err
}

// A stream that the server ends, it ends for TLS as well (RFC 8446 §6.1): to clients that are strict anything
// else is an attack that cuts streams off.
func TestAStreamEndsForTLSToo(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{TLS: true})
	alice := n.User("alice")
	_, addr, _ := strings.Cut(n.URL, "://")
	plain, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = plain.SetDeadline(time.Now().Add(ssetest.Patience))
	tapped := &tap{Conn: plain}
	// 1.3 hides alerts
	conn := tls.Client(tapped, &tls.Config{
		RootCAs: nodetest.Trusting().RootCAs, ServerName: "localhost",
		MaxVersion: tls.VersionTLS12,
	})
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "GET /api/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+
		"%s\r\n\r\n", alice.Token); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	for line := ""; !strings.HasPrefix(line, "event: stream.ready"); {
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	n.Stop()
	rest, err := io.ReadAll(in)
	if err != nil || !strings.Contains(string(rest), "event: stream.closing") {
		t.Errorf("got %q and error %v, want the stream closed in order", rest, err)
	}
	var kind byte
	for b := tapped.read.Bytes(); len(b) >= 5; b = b[min(len(b), 5+int(b[3])<<8+int(b[4])):] {
		kind = b[0]
	}
	const alert = 21
	if kind != alert {
		t.Errorf("got a last record of type %d, want %d, an alert that says so", kind, alert)
	}
}
