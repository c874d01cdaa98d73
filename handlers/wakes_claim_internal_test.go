package handlers

import (
	"testing"
	"time"

	"fabric-guild/handlers/auth"
)

// A wait of more than 10 s ends 5 s early, so that proxies do not cut the answer.
func TestALongWaitEndsEarly(t *testing.T) {
	t.Parallel()
	for asked, want := range map[int]time.Duration{0: 0, 1: 1, 10: 10, 11: 6, 60: 55} {
		_, wait, err := claimBody{WaitSeconds: &asked}.claim(auth.Identity{UserID: "bot"})
		if err != nil || wait != want*time.Second {
			t.Errorf("waitSeconds %d: got a wait of %v and error %v, want %v", asked, wait, err,
				want*time.Second)
		}
	}
}
