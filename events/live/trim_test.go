package live

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// This test is not parallel: other tests may collect garbage too.
func TestMemoryIsGivenBackAfterARush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forced := func() uint32 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.NumForcedGC
		}
		n := newNode(t, newMemLog())
		go n.RunTrim(t.Context())
		var clients []*client
		open := func(count int) {
			for range count {
				c := n.open(t, Options{User: fmt.Sprint("u", len(clients))})
				c.expect(got{event: "stream.ready"})
				clients = append(clients, c)
			}
		}
		for _, step := range []struct {
			name string
			do   func()
			want uint32
		}{
			{"a few", func() { open(trimStreams - 1) }, 0},
			{"many", func() { open(1) }, 1},
			{"no more", func() {}, 0},
			{"a few more", func() { open(trimStreams / 2) }, 0},
			{"most of them gone", func() {
				for _, c := range clients[:trimStreams] {
					c.s.Abort()
				}
			}, 0},
			{"all gone", func() {
				for _, c := range clients[trimStreams:] {
					c.s.Abort()
				}
			}, 1},
		} {
			before := forced()
			step.do()
			time.Sleep(10 * trimInterval)
			if got := forced() - before; got != step.want {
				t.Errorf("%s: memory was given back %d times, want %d", step.name, got, step.want)
			}
		}
	})
}
