package fsck

import "hash/maphash"

// A ledger sums up rows in an order of no account: two ledgers of the same rows
// are equal, and those of different ones are not, but for a chance of 1 in 2^128.
// So the rows that entries demand are compared with those that are there in one
// pass over each, in constant memory. Where a bucket differs a second pass over
// its rows tells which.
type ledger struct {
	buckets []sum
	seeds   [3]maphash.Seed
}

type sum struct {
	rows int64
	a, b uint64
}

// ledgerBuckets is how many there are. A second pass looks up one in so many rows
// for each row that is wrong.
const ledgerBuckets = 4096

// newLedgers returns two that compare. The seeds are random, so that nobody can
// prepare rows that cancel out.
func newLedgers() (a, b *ledger) {
	seeds := [3]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed(), maphash.MakeSeed()}
	return &ledger{make([]sum, ledgerBuckets), seeds}, &ledger{make([]sum, ledgerBuckets), seeds}
}

func (l *ledger) bucket(key []byte) int {
	return int(maphash.Bytes(l.seeds[0], key) % ledgerBuckets)
}

// add enters a row.
func (l *ledger) add(key, value []byte) {
	s := &l.buckets[l.bucket(key)]
	s.rows++
	s.a += hash(l.seeds[1], key, value)
	s.b += hash(l.seeds[2], key, value)
}

func hash(seed maphash.Seed, key, value []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_ = h.WriteByte(byte(len(key))) // never fails
	_, _ = h.Write(key)
	_, _ = h.Write(value)
	return h.Sum64()
}

// differing returns the buckets in which two ledgers differ; nil: none.
func (l *ledger) differing(other *ledger) map[int]bool {
	var out map[int]bool
	for i, s := range l.buckets {
		if s != other.buckets[i] {
			if out == nil {
				out = map[int]bool{}
			}
			out[i] = true
		}
	}
	return out
}
