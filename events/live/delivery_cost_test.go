package live

import (
	"net/http"
	"runtime"
	"testing"
)

// Each further recipient of a message costs a write and, over a raw connection, no memory at all: the message
// is encoded once, and the stream's buffers exist already. r3labs copies each frame, and -race adds to that.
func TestADeliveryAllocatesNothingPerRecipient(t *testing.T) { // not parallel: it counts allocations
	const few = 100
	many := 1000
	if testing.Short() {
		many = 400
	}
	// Now and then more goroutines run at once than ever before: the runtime then allocates new ones.
	most := map[string]cost{"raw": {0.5, 100}, "r3labs": {14, 1200}}
	more := float64(many - few)
	for _, over := range transports {
		t.Run(over.name, func(t *testing.T) {
			base, all := costOfAMessage(t, few, over.serve), costOfAMessage(t, many, over.serve)
			got := cost{(all.allocs - base.allocs) / more, (all.bytes - base.bytes) / more}
			t.Logf("a further recipient costs %.2f allocations and %.1f bytes", got.allocs, got.bytes)
			if want := most[over.name]; got.allocs > want.allocs || got.bytes > want.bytes {
				t.Errorf("a further recipient costs %.2f allocations and %.1f bytes, want %v and %v at most",
					got.allocs, got.bytes, want.allocs, want.bytes)
			}
		})
	}
}

type cost struct{ allocs, bytes float64 }

// costOfAMessage returns what one message to that many streams costs the whole process, after a few messages
// to warm up.
func costOfAMessage(
	t *testing.T, members int, serve func(http.ResponseWriter, *http.Request, *Session),
) cost {
	t.Helper()
	const rounds = 10
	a := gather(t, members, serve)
	a.listen(t, members)
	for range rounds {
		a.hear(t, a.next(), members)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		a.hear(t, a.next(), members)
	}
	runtime.ReadMemStats(&after)
	return cost{
		float64(after.Mallocs-before.Mallocs) / rounds,
		float64(after.TotalAlloc-before.TotalAlloc) / rounds,
	}
}
