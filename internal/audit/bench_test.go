package audit_test

import (
	"crypto/rand"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"sigstack/internal/audit"
)

// benchLog is a record that begins no second file.
func benchLog(b *testing.B) *audit.Log {
	b.Helper()
	o := options(b)
	o.FileSize = 1 << 30
	return open(b, o)
}

func BenchmarkRecord(b *testing.B) {
	l := benchLog(b)
	e := issued(1)
	for b.Loop() {
		if err := l.Record(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecordFloor is what a record costs at least: a write and a sync, one
// hash, one signature, and the write and sync of the head.
func BenchmarkRecordFloor(b *testing.B) {
	dir := b.TempDir()
	f, err := os.Create(filepath.Join(dir, "records"))
	if err != nil {
		b.Fatal(err)
	}
	head, err := os.Create(filepath.Join(dir, "head"))
	if err != nil {
		b.Fatal(err)
	}
	key, line, slot := newKey(b), make([]byte, 600), make([]byte, 4096)
	for b.Loop() {
		sum := sha256.Sum256(line)
		if _, err := key.Sign(rand.Reader, sum[:], nil); err != nil {
			b.Fatal(err)
		}
		if _, err := f.Write(line); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		if _, err := head.WriteAt(slot, 0); err != nil {
			b.Fatal(err)
		}
		if err := head.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecord64 is the same by 64 writers, who share commits.
func BenchmarkRecord64(b *testing.B) {
	l := benchLog(b)
	e := issued(1)
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Record(b.Context(), e); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkVerify is for a thousand records.
func BenchmarkVerify(b *testing.B) {
	o := options(b)
	o.FileSize = 1 << 30
	l := open(b, o)
	for i := range 1000 {
		record(b, l, issued(i))
	}
	closeLog(b, l)
	for b.Loop() {
		mustVerify(b, o)
	}
}
