package handlers_test

import (
	"testing"
	"time"

	"fabric-guild/handlers"
)

// Streams that begin together do not end together.
func TestRotationIsSpread(t *testing.T) {
	t.Parallel()
	const most = time.Hour
	if got := handlers.Lifetime(0); got != 0 {
		t.Errorf("got %v without a maximum, want 0", got)
	}
	var early, late int
	for range 1000 {
		switch d := handlers.Lifetime(most); {
		case d < most/2 || d > most:
			t.Fatalf("got %v, want half of %v at least, and no more than it", d, most)
		case d < most*5/8:
			early++
		case d > most*7/8:
			late++
		}
	}
	if early < 150 || late < 150 {
		t.Errorf("got %d in the first and %d in the last quarter of the time, want about 250 each",
			early, late)
	}
}
