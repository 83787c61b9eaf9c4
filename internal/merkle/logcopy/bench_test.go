package logcopy_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/logcopy"
	"sigstack/internal/pgtest"
)

// benchEntries is how many entries of 1 KB the log of the benchmark has, with three rows
// of a search index each.
const benchEntries = 50_000

// BenchmarkCopy copies a log to PostgreSQL on this machine's disk, and back, the
// comparison of all that was written included.
func BenchmarkCopy(b *testing.B) {
	from := open(b, place{Dir: filepath.Join(b.TempDir(), "db")})
	id := benchLog(b, from)
	run := func(name string, to func(i int) store, from func() store) {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				target := to(i)
				if _, err := logcopy.Copy(b.Context(), logcopy.Config{From: from(), To: target, Tree: id}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*benchEntries/b.Elapsed().Seconds(), "entries/s")
		})
	}
	_, db := pgtest.Start(b)
	n := 0
	var there store
	run("to=PostgreSQL", func(int) store {
		n++
		there = open(b, place{URL: db.URL, Schema: fmt.Sprintf("log%d", n)})
		return there
	}, func() store { return from })
	run("to=directory", func(int) store { return open(b, place{Dir: filepath.Join(b.TempDir(), "db")}) }, func() store { return there })
}

// benchLog makes the log.
func benchLog(b *testing.B, s store) int64 {
	b.Helper()
	id, err := merkle.CreateTree(b.Context(), s, "tlog")
	if err != nil {
		b.Fatal(err)
	}
	tree := openTree(b, s, id)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tree.Run(ctx) }()
	const width = 500
	errs := make(chan error, width)
	for first := 0; first < benchEntries; first += width {
		for i := first; i < first+width; i++ {
			go func() { _, err := tree.Add(ctx, benchLeaf(i)); errs <- err }()
		}
		for range width {
			if err := <-errs; err != nil {
				b.Fatal(err)
			}
		}
	}
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return id
}

func benchLeaf(i int) merkle.Leaf {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(i))
	raw := make([]byte, 768)
	rand.NewChaCha8(seed).Read(raw) //nolint:errcheck // never fails
	l := merkle.Leaf{Value: base64.StdEncoding.AppendEncode(nil, raw)}
	for r := range 3 {
		key := sha256.Sum256(fmt.Append(nil, r, i/3))
		l.Rows = append(l.Rows, merkle.Row{Key: append([]byte("x"), key[:]...), Value: []byte{1}, ByIndex: true})
	}
	return l
}
