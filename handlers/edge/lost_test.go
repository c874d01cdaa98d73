package edge

import (
	"net"
	"testing"
	"time"

	"fabric-guild/events/ssetest"
)

func TestSilenceLastsUntilAnAcknowledgement(t *testing.T) {
	t.Parallel()
	const s = time.Second
	start := time.Now()
	var got silence
	for _, tt := range []struct {
		rule        string
		at          time.Duration
		owes        bool
		acked, want time.Duration
	}{
		{"nothing was sent", 0, false, 600 * s, 0},
		{"something was sent just now, after a long time", 15 * s, true, 615 * s, 0},
		{"it is still not acknowledged", 30 * s, true, 630 * s, 15 * s},
		{"something is acknowledged, more was sent", 45 * s, true, 5 * s, 0},
		{"and that is not", 60 * s, true, 20 * s, 15 * s},
		{"for long", 110 * s, true, 70 * s, 65 * s},
		{"all is acknowledged", 120 * s, false, s, 0},
		{"and then something was sent", 135 * s, true, 16 * s, 0},
	} {
		if lasts := got.lasts(start.Add(tt.at), tt.owes, tt.acked); lasts != tt.want {
			t.Errorf("%s: got %v of silence, want %v", tt.rule, lasts, tt.want)
		}
	}
}

// A peer that has no room owes an acknowledgement, one that has taken all does not.
func TestUnacknowledged(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	owes := func() bool {
		is, _ := unacknowledged(c.(*net.TCPConn))
		return is
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if !ssetest.Await(func() bool { return !owes() }) {
		t.Error("a peer that has taken all owes an acknowledgement")
	}
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	for err == nil {
		_, err = c.Write(make([]byte, 1<<20))
	}
	if !owes() {
		t.Error("a peer that has no room owes nothing")
	}
	c.Close()
	if owes() {
		t.Error("a closed connection owes something")
	}
}
