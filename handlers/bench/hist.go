package bench

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A hist counts durations in buckets that are an eighth of a power of two wide, so a quantile is right to 7 %. It
// is safe for concurrent use.
type hist struct{ buckets [64 * 8]atomic.Int64 }

func (h *hist) add(d time.Duration) { h.buckets[bucket(max(0, d))].Add(1) }

func bucket(d time.Duration) int {
	n := uint64(d)
	if n < 8 {
		return int(n)
	}
	power := bits.Len64(n) - 4 // the highest bit, and three more
	return power*8 + int(n>>power)
}

// lowest is the smallest duration of a bucket.
func lowest(i int) time.Duration {
	if i < 8 {
		return time.Duration(i)
	}
	power := i/8 - 1
	return time.Duration((8 + i%8) << power)
}

// quantile is the duration that this part of all are at or below; 0 of none.
func (h *hist) quantile(part float64) time.Duration {
	var total int64
	for i := range h.buckets {
		total += h.buckets[i].Load()
	}
	rank, seen := int64(part*float64(total)), int64(0)
	for i := range h.buckets {
		if seen += h.buckets[i].Load(); seen > rank || seen == total && total > 0 {
			return (lowest(i) + lowest(i+1)) / 2
		}
	}
	return 0
}
