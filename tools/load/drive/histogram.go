package drive

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram's buckets: below 2^subBits ns one for each ns, above that
// 2^subBits for each doubling.
const (
	subBits = 7
	buckets = (64 - subBits) << subBits
)

// Resolution is how far a quantile may lie above the value that it stands for, as
// a fraction of it.
const Resolution = 1. / (1 << subBits)

// Histogram counts durations in constant memory (57 KiB). Quantiles are rounded
// up by at most Resolution; Max, Min and Mean are exact. It is safe for concurrent
// use while it is added to; read it afterwards.
type Histogram struct {
	counts   [buckets]atomic.Int64
	n, sum   atomic.Int64
	max      atomic.Int64
	shortest atomic.Int64 // plus one, so that zero is none
}

// Add counts one duration; negative ones count as zero.
func (h *Histogram) Add(d time.Duration) {
	v := max(int64(d), 0)
	h.counts[bucketOf(uint64(v))].Add(1)
	h.n.Add(1)
	h.sum.Add(v)
	for old := h.max.Load(); v > old && !h.max.CompareAndSwap(old, v); old = h.max.Load() {
	}
	for old := h.shortest.Load(); (old == 0 || v+1 < old) && !h.shortest.CompareAndSwap(old, v+1); old = h.shortest.Load() {
	}
}

// bucketOf numbers the bucket of v: the position of its highest bit, then the
// subBits bits below that.
func bucketOf(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)<<subBits + int(v>>shift) - 1<<subBits
}

// top is the greatest value of a bucket.
func top(bucket int) int64 {
	if bucket < 1<<subBits {
		return int64(bucket)
	}
	shift := bucket>>subBits - 1
	low := uint64(bucket&(1<<subBits-1) + 1<<subBits)
	return int64((low+1)<<shift - 1)
}

// Count is how many durations were added.
func (h *Histogram) Count() int64 { return h.n.Load() }

// Quantile returns the duration that the fraction q of all did not exceed, 0 for
// none at all.
func (h *Histogram) Quantile(q float64) time.Duration {
	n := h.n.Load()
	rank := min(int64(q*float64(n))+1, n)
	var seen int64
	for i := range h.counts {
		if seen += h.counts[i].Load(); seen >= rank && n > 0 {
			return time.Duration(min(top(i), h.max.Load()))
		}
	}
	return 0
}

// Max is the longest duration.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max.Load()) }

// Min is the shortest duration.
func (h *Histogram) Min() time.Duration { return time.Duration(max(h.shortest.Load()-1, 0)) }

// Mean is the average.
func (h *Histogram) Mean() time.Duration { return time.Duration(h.sum.Load() / max(h.n.Load(), 1)) }
