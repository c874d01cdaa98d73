package bench

import (
	"encoding/json"
	"math"
	"testing"
)

// A step that was too short to measure anything costs its own figures only, not the report.
func TestFiguresThatCannotBeMeasured(t *testing.T) {
	t.Parallel()
	var b run
	b.add("wakes", "a reply, and a post", Figures{
		"reply/post": math.NaN(), "cycle/post": math.Inf(1), "reply p50 ms": 0,
	})
	got, err := json.Marshal(b.report)
	const want = `{"rows":[{"scenario":"wakes","what":"a reply, and a post","figures":{"reply p50 ms":0}}]}`
	if err != nil || string(got) != want {
		t.Errorf("got %s and error %v, want %s", got, err, want)
	}
}
