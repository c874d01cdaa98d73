package bench

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A hist is a histogram of durations. Each power of two has eight buckets, so a quantile has an error of at
// most 7 %. A hist is safe for concurrent use.
type hist struct{ buckets [64 * 8]atomic.Int64 }

func (h *hist) add(d time.Duration) { h.buckets[bucket(max(0, d))].Add(1) }

// bucket returns the index of the bucket of a duration.
func bucket(d time.Duration) int {
	n := uint64(d)
	if n < 8 {
		return int(n)
	}
	power := bits.Len64(n) - 4 // keep the highest bit and the three bits below it
	return power*8 + int(n>>power)
}

// lowest returns the smallest duration of a bucket.
func lowest(i int) time.Duration {
	if i < 8 {
		return time.Duration(i)
	}
	power := i/8 - 1
	return time.Duration((8 + i%8) << power)
}

// quantile returns a duration such that the given part of all durations, from 0 to 1, is at or below it. It
// returns 0 if the histogram is empty.
func (h *hist) quantile(part float64) time.Duration {
	var total int64
	for i := range h.buckets {
		total += h.buckets[i].Load()
	}
	rank := int64(part * float64(total))
	seen := int64(0)
	for i := range h.buckets {
		seen += h.buckets[i].Load()
		if seen > rank || seen == total && total > 0 {
			return (lowest(i) + lowest(i+1)) / 2
		}
	}
	return 0
}
