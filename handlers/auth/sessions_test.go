package auth

import (
	"errors"
	"testing"
)

// Closed sessions are remembered, up to a bound; then the oldest is forgotten.
func TestClosedSessionsAreBounded(t *testing.T) {
	t.Parallel()
	x := NewSessions(func() ([]byte, error) { return []byte("secret"), nil })
	values := make([]string, closedSessions+2)
	for i := range values {
		var err error
		if values[i], err = x.Seal("token"); err != nil {
			t.Fatal(err)
		}
		id, _, err := x.Open(values[i])
		if err != nil {
			t.Fatal(err)
		}
		x.Close(id)
		x.Close(id) // once more takes no room
	}
	for i, value := range values {
		_, _, err := x.Open(value)
		if forgotten := i < 2; forgotten != (err == nil) || !forgotten && !errors.Is(err, ErrTokenInvalid) {
			t.Fatalf("session %d of %d: got error %v", i, len(values), err)
		}
	}
	if got := len(x.closed); got != closedSessions {
		t.Errorf("got %d sessions remembered, want %d", got, closedSessions)
	}
}
