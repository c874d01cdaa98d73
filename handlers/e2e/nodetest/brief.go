package nodetest

import (
	"testing"
	"time"

	"fabric-guild/events/ssetest"
)

// Brief calls do with the life of a token, and again with twice the life until do reports true. So a test of
// a token that ends takes two seconds, or longer on a machine that needs longer to use the token. If do
// reports false for every life up to Patience, Brief ends the test.
func Brief(t *testing.T, do func(life time.Duration) (ok bool)) {
	t.Helper()
	for life := 2 * time.Second; !do(life); life *= 2 {
		if life > ssetest.Patience {
			t.Fatalf("a token that lasts %v ends before it is used", life)
		}
	}
}

// BriefStream opens a stream with a token that ends soon, and reads the stream to its end. sign makes a token
// of the user that lasts life.
func BriefStream(t *testing.T, over Transport, sign func(life time.Duration) *User) (*User, []ssetest.Frame) {
	t.Helper()
	var u *User
	var frames []ssetest.Frame
	Brief(t, func(life time.Duration) bool {
		u = sign(life)
		s, err := u.Connect(over, "")
		if err != nil {
			t.Log("open a stream: ", err)
			return false
		}
		defer s.Close()
		frames = s.Ended(t)
		return len(frames) > 0 && frames[0].Event == "stream.ready"
	})
	return u, frames[1:]
}
