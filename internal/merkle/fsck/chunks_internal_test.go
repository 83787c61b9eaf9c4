package fsck

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/record"
)

// records is a manifest's kind of file, made by the database's own writer.
func records(tb testing.TB, sizes ...int) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := record.NewWriter(&out)
	for i, size := range sizes {
		if _, err := w.WriteRecord(bytes.Repeat([]byte{byte(i + 1)}, size)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// TestRecords: a whole file passes, a longer one of zeros, too; every flipped bit is
// found, and so is a part that is missing in the middle.
func TestRecords(t *testing.T) {
	good := records(t, 10, 300, 0, 70_000, 5, 32_700)
	for name, data := range map[string][]byte{"whole": good, "allocated": append(bytes.Clone(good), make([]byte, 100_000)...), "empty": nil} {
		if v := (recordFile{data, 0}).check(); v.damage != "" || v.rest != 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 400 {
		at := random.IntN(len(good))
		bad := bytes.Clone(good)
		bad[at] ^= 1 << random.IntN(8)
		if v := (recordFile{bad, 0}).check(); v.damage == "" {
			t.Errorf("a bit of byte %d of %d flipped: %+v", at, len(good), v)
		}
	}
	if v := (recordFile{append(bytes.Clone(good[:320]), make([]byte, 400)...), 0}).check(); v.damage != "" {
		t.Errorf("cut off: %+v, want no damage", v)
	}
}

// FuzzRecords: what is called readable without damage is what the database's own
// reader reads.
func FuzzRecords(f *testing.F) {
	f.Add(records(f, 10, 300, 0))
	f.Add(records(f, 40_000))
	f.Add([]byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		v := (recordFile{data, 0}).check()
		if v.readable < 0 || v.readable > int64(len(data)) || v.damage != "" && v.rest != 0 {
			t.Fatalf("%+v of %d bytes", v, len(data))
		}
		if v.damage != "" || v.rest != 0 {
			return
		}
		r := record.NewReader(bytes.NewReader(data), 0)
		for {
			rec, err := r.Next()
			if err == nil {
				_, err = io.Copy(io.Discard, rec)
			}
			if err == nil {
				continue
			}
			if r.Offset() < v.readable-recordBlock {
				t.Fatalf("readable up to %d, the database reads up to %d: %v", v.readable, r.Offset(), err)
			}
			return
		}
	})
}
