package merkle_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

// growthLeaf is benchLeaf with the rows of a search index: two keys of its own
// and one that many leaves share.
func growthLeaf(i int) merkle.Leaf {
	l := benchLeaf(i)
	for kind, n := range []int{i, i, i % 10_000} {
		digest := sha256.Sum256(binary.BigEndian.AppendUint64([]byte{byte(kind)}, uint64(n)))
		l.Rows = append(l.Rows, merkle.Row{Key: append([]byte{'s'}, digest[:]...), Value: make([]byte, 32), ByIndex: true})
	}
	return l
}

// BenchmarkGrowth grows one tree on a real disk, tenfold at each step, to
// SIGSTACK_GROWTH leaves. It gives the CPU time of an add, over all adds of the
// step, and of reads at random places after it. Each step runs once, whatever
// -benchtime says.
func BenchmarkGrowth(b *testing.B) {
	limit, err := strconv.Atoi(os.Getenv("SIGSTACK_GROWTH"))
	if err != nil {
		b.Skip("SIGSTACK_GROWTH is not set to a number of leaves")
	}
	b.Chdir(b.TempDir())
	r := startOn(b, vfs.Default, pebblelog.Options{}, merkle.Config{HeadFile: headFile(b)})
	for size := 1000; size <= limit; size *= 10 {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			first := int(r.Head().Size)
			measure(b, "add-ns", 64, max(size-first, 0), func(i int) error {
				_, err := r.Add(b.Context(), growthLeaf(first+i))
				return err
			})
			measureReads(b, r, size)
			b.ReportMetric(0, "ns/op")
		})
	}
}

func measureReads(b *testing.B, r *rig, size int) {
	const reads = 50_000
	ctx, at := b.Context(), func(i int) uint64 { return uint64(i) * 7919 % uint64(size) }
	measure(b, "entry-ns", 8, reads, func(i int) error { _, err := r.Entry(ctx, at(i)); return err })
	hashes := make([][32]byte, reads/10)
	for i := range hashes {
		e, err := r.Entry(ctx, at(i*10))
		if err != nil {
			b.Fatal(err)
		}
		hashes[i] = e.LeafHash
	}
	measure(b, "byhash-ns", 8, len(hashes), func(i int) error { _, err := r.EntryByHash(ctx, hashes[i]); return err })
	measure(b, "inclusion-ns", 8, reads, func(i int) error { _, err := r.Inclusion(ctx, at(i), uint64(size)); return err })
	measure(b, "consistency-ns", 8, reads, func(i int) error { _, err := r.Consistency(ctx, at(i)+1, uint64(size)); return err })
	measure(b, "search-ns", 8, reads, func(i int) error {
		_, err := r.RowsBefore(ctx, growthLeaf(int(at(i))).Rows[0].Key, uint64(size), 256)
		return err
	})
}

// measure reports the CPU time of do.
func measure(b *testing.B, unit string, goroutines, n int, do func(i int) error) {
	b.Helper()
	if n == 0 {
		return
	}
	before := cpuTime(b)
	work(b, goroutines, n, do)
	b.ReportMetric(float64(cpuTime(b)-before)/float64(n), unit)
}
