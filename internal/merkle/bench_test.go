package merkle_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

// leafBytes is about the size of a Rekor hashedrekord entry.
const leafBytes = 1024

// benchLeaf returns a distinct leaf for every i, as hard to compress as the
// base64 that real entries consist of.
func benchLeaf(i int) merkle.Leaf {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(i))
	raw := make([]byte, leafBytes*3/4)
	rand.NewChaCha8(seed).Read(raw) //nolint:errcheck // never fails
	return merkle.Leaf{Value: base64.StdEncoding.AppendEncode(nil, raw)}
}

// cpuTime is what the process has used so far, user and system.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAdd adds 1 KB leaves on a real disk, synced, and checks nothing: the
// tests do. Compare its CPU with BenchmarkAddFloor; the time of one writer is
// the disk's fsync.
func BenchmarkAdd(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			b.Chdir(b.TempDir())
			r := startOn(b, vfs.Default, pebblelog.Options{}, merkle.Config{HeadFile: headFile(b)})
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime(b)
			work(b, writers, b.N, func(i int) error {
				_, err := r.Add(b.Context(), benchLeaf(i))
				return err
			})
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkAddFloor is the cryptography that one add cannot do without, in a
// tree of a million: one SHA-256 of the 1 KB leaf with its prefix, one of two
// 32-byte children with theirs for the node that each entry completes on
// average, and 20 of those for a root, as if the entry were alone in its batch.
func BenchmarkAddFloor(b *testing.B) {
	leaf := make([]byte, 1+leafBytes)
	node := make([]byte, 1+2*sha256.Size)
	perRoot := bits.Len(1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		sha256.Sum256(leaf)
		for range 1 + perRoot {
			sha256.Sum256(node)
		}
	}
}

// BenchmarkReads reads a tree of 100,000 entries at random places.
func BenchmarkReads(b *testing.B) {
	r := start(b, merkle.Config{})
	const n = 100_000
	hashes := make([][32]byte, n)
	work(b, 256, n, func(i int) error {
		added, err := r.Add(b.Context(), benchLeaf(i))
		hashes[added.Entry.Index] = added.Entry.LeafHash
		return err
	})
	at := func(i int) uint64 { return uint64(i) * 7919 % n }
	reads := map[string]func(i int) error{
		"entry":     func(i int) error { _, err := r.Entry(b.Context(), at(i)); return err },
		"byhash":    func(i int) error { _, err := r.EntryByHash(b.Context(), hashes[at(i)]); return err },
		"inclusion": func(i int) error { _, err := r.Inclusion(b.Context(), at(i), n); return err },
	}
	for name, read := range reads {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := read(i); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// work calls do for every number below n, from so many goroutines.
func work(b *testing.B, goroutines, n int, do func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}
