package live

import (
	"runtime"
	"testing"
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
