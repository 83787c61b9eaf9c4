package pglog_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sigstack/internal/merkle"
	"sigstack/internal/pgtest"
)

// leafBytes is about the size of a Rekor hashedrekord entry, as in the engine's own
// benchmark.
const leafBytes = 1024

func benchLeaf(i int) merkle.Leaf {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(i))
	raw := make([]byte, leafBytes*3/4)
	rand.NewChaCha8(seed).Read(raw) //nolint:errcheck // never fails
	return merkle.Leaf{Value: base64.StdEncoding.AppendEncode(nil, raw)}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAdd is the engine's BenchmarkAdd on a PostgreSQL of this machine, synced:
// cpu-ns/op is this process, pg-cpu-ns/op the database's. "indexed" leaves bring two
// rows each, as those of a log with a search index.
func BenchmarkAdd(b *testing.B) {
	for _, bm := range []struct {
		writers int
		rows    int
	}{{1, 0}, {64, 0}, {64, 2}} {
		b.Run(fmt.Sprintf("writers=%d/rows=%d", bm.writers, bm.rows), func(b *testing.B) {
			db := pgtest.New(b)
			s := open(b, migrated(b, db, "log"))
			e := start(b, s, newTree(b, s))
			b.ReportAllocs()
			b.ResetTimer()
			own, pg, began := cpuTime(b), db.CPU(b), time.Now()
			work(b, bm.writers, b.N, func(i int) error {
				l := benchLeaf(i)
				for r := range bm.rows {
					l.Rows = append(l.Rows, merkle.Row{Key: fmt.Append(nil, "index ", r, l.Value[:43]), Value: []byte{1}, ByIndex: true})
				}
				_, err := e.Add(b.Context(), l)
				return err
			})
			took := time.Since(began)
			b.ReportMetric(float64(cpuTime(b)-own)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(db.CPU(b)-pg)/float64(b.N), "pg-cpu-ns/op")
			b.ReportMetric(float64(b.N)/took.Seconds(), "adds/s")
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
