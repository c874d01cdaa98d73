package live

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkDelivery sends one message to 1,000 streams over sockets, until the last reader has it.
func BenchmarkDelivery(b *testing.B) {
	const members = 1000
	for _, over := range transports {
		b.Run(over.name, func(b *testing.B) {
			a := gather(b, members, over.serve)
			a.listen(b, members)
			per := perDelivery(b)
			for b.Loop() {
				a.hear(b, a.next(), members)
			}
			per(members)
		})
	}
}

// BenchmarkDeliveryBesideActivity sends one message after the other to 1,000 streams that ask for activity,
// while 200 of their users send drafts: none, four per second each, or 10,000 per second in all.
func BenchmarkDeliveryBesideActivity(b *testing.B) {
	const members, senders, size = 1000, 200, 1000
	for _, perSecond := range []int{0, 4 * senders, 10_000} {
		b.Run(fmt.Sprint(perSecond), func(b *testing.B) {
			a := gather(b, members, transports[0].serve)
			a.asks.Store(true)
			a.listen(b, members)
			stop := make(chan struct{})
			var flood sync.WaitGroup
			if perSecond > 0 {
				flood.Go(func() {
					tick := time.NewTicker(time.Millisecond)
					defer tick.Stop()
					for sent, began := 0, time.Now(); ; sent++ {
						for sent > int(time.Since(began).Seconds()*float64(perSecond)) {
							select {
							case <-tick.C:
							case <-stop:
								return
							}
						}
						a.Tell(draft(a.Position(), ops, fmt.Sprint("u", sent%senders),
							strings.Repeat("x", size)))
					}
				})
			}
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				a.hear(b, a.next(), members)
				took = append(took, time.Since(began))
			}
			close(stop)
			flood.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(a.Counters().Signals.Load())/b.Elapsed().Seconds(), "activities/s")
		})
	}
}

// BenchmarkResume resumes a stream that missed 5,000 messages, which it takes from the ring.
func BenchmarkResume(b *testing.B) {
	const missed = 5000
	for _, over := range transports {
		b.Run(over.name, func(b *testing.B) {
			a := gather(b, 1, over.serve)
			from := a.Position()
			for range missed {
				a.publish(a.next())
			}
			per := perDelivery(b)
			for b.Loop() {
				a.due.Store(missed)
				conn := a.connect(b, "u0", from.String())
				a.all(b)
				_ = conn.Close()
				a.await(b, "the stream to end", func() bool { return a.Streams() == 0 })
			}
			per(missed)
		})
	}
}

// perDelivery starts to measure. report ends that, and reports the cost per delivery; deliveries is their
// number per round.
func perDelivery(b *testing.B) (report func(deliveries int)) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	return func(deliveries int) {
		runtime.ReadMemStats(&after)
		n := float64(b.N) * float64(deliveries)
		b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, "allocs/delivery")
		b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/n, "B/delivery")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/delivery")
	}
}
