package rekorv1_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/services/tlog/tlogtest"
)

// BenchmarkAddEntry is a whole POST of a hashedrekord signed with a certificate:
// mux, parsing, verification, a durable commit on disk, signing, rendering.
// Compare cpu-ns/op with the floor; the time of one writer is the disk's fsync.
func BenchmarkAddEntry(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			r := startOn(b, vfs.Default, b.TempDir())
			proposals := proposals(b, b.N)
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime(b)
			work(writers, b.N, func(i int) {
				if a := r.serve("POST", "/api/v1/log/entries", proposals[i]); a.status != http.StatusCreated {
					b.Errorf("%d %s", a.status, a.body)
				}
			})
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkAddEntryFloor is the cryptography that one such POST cannot do
// without: one ECDSA P-256 verification (the signature), two ECDSA P-256
// signatures (entry timestamp, and the checkpoint of an entry alone in its
// batch), one SHA-256 of the canonical entry (leaf), one of its base64 (what the
// timestamp signs), one of a checkpoint, and 20 of two hashes (the root of a
// tree of a million).
func BenchmarkAddEntryFloor(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	canonical, base64d, checkpoint, node := make([]byte, 1800), make([]byte, 2400), make([]byte, 80), make([]byte, 65)
	artifact := sha256.Sum256(nil)
	sig, err := key.Sign(rand.Reader, artifact[:], crypto.SHA256)
	if err != nil {
		b.Fatal(err)
	}
	sign := func(message []byte) {
		digest := sha256.Sum256(message)
		if _, err := key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		if !ecdsa.VerifyASN1(&key.PublicKey, artifact[:], sig) {
			b.Fatal("signature does not verify")
		}
		sha256.Sum256(canonical)
		sign(base64d)
		for range 20 {
			sha256.Sum256(node)
		}
		sign(checkpoint)
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkGetEntry reads an entry by its ID: a proof from memory or disk, a
// signed entry timestamp, the checkpoint that readers share.
func BenchmarkGetEntry(b *testing.B) {
	r := start(b)
	const entries = 1000
	ids := make([]string, entries)
	proposals := proposals(b, entries)
	work(64, entries, func(i int) {
		ids[i] = r.serve("POST", "/api/v1/log/entries", proposals[i]).header.Get("ETag")
	})
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	work(64, b.N, func(i int) {
		if a := r.serve("GET", "/api/v1/log/entries/"+ids[i*7919%entries], nil); a.status != http.StatusOK {
			b.Errorf("%d %s", a.status, a.body)
		}
	})
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkGetEntryFloor: one ECDSA P-256 signature and one SHA-256 of what it
// signs, the entry timestamp.
func BenchmarkGetEntryFloor(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	message := make([]byte, 2400)
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		digest := sha256.Sum256(message)
		if _, err := key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkSearchIndex looks an artifact up by its digest in a log of a thousand
// entries: one hit, as most searches have.
func BenchmarkSearchIndex(b *testing.B) {
	r := start(b)
	const entries = 1000
	proposals, questions := proposals(b, entries), make([][]byte, entries)
	work(64, entries, func(i int) {
		r.serve("POST", "/api/v1/log/entries", proposals[i])
		questions[i] = fmt.Appendf(nil, `{"hash":"sha256:%x"}`, sha256.Sum256([]byte(fmt.Sprint(i))))
	})
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	work(64, b.N, func(i int) {
		a := r.serve("POST", "/api/v1/index/retrieve", questions[i*7919%entries])
		if a.status != http.StatusOK || len(a.body) != len("[\"\"]\n")+80 {
			b.Errorf("%d %s", a.status, a.body)
		}
	})
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkSearchIndexFloor: one SHA-256 of what is searched.
func BenchmarkSearchIndexFloor(b *testing.B) {
	term := make([]byte, 71)
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		sha256.Sum256(term)
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// proposals makes n different entries, about as large as keyless signing does.
func proposals(b *testing.B, n int) [][]byte {
	b.Helper()
	s := certified(b)
	out := make([][]byte, n)
	for i := range out {
		out[i] = tlogtest.JSON(b, blob(b, s, fmt.Sprint(i)))
	}
	return out
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

// work calls do for every number below n, from so many goroutines.
func work(goroutines, n int, do func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wg.Wait()
}
