package histogram

import (
	"math"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h Histogram
	for _, d := range []time.Duration{
		-time.Second, 0, time.Millisecond, time.Millisecond + 1, 30 * time.Second, time.Hour,
	} {
		h.Observe(d)
	}
	count, sum, atMost := h.Read()
	if want := 3630.002; count != 6 || math.Abs(sum-want) > 1e-6 {
		t.Errorf("got %d durations with the sum %v s, want 6 with the sum %v s", count, sum, want)
	}
	for bound, want := range map[float64]uint64{0.0005: 2, 0.001: 3, 0.0025: 4, 10: 4, 30: 5} {
		if got, ok := atMost[bound]; !ok || got != want {
			t.Errorf("got %d durations up to %v s, want %d", got, bound, want)
		}
	}
	if len(atMost) != len(bounds) {
		t.Errorf("got %d bounds, want %d", len(atMost), len(bounds))
	}
}
