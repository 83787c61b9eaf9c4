package clock

import (
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/stack"
)

// TestKilledWhileSigning kills the process again and again while it signs as fast as
// it can. No version ever names two contents, none goes back, and every start finds a
// repository that clients accept.
func TestKilledWhileSigning(t *testing.T) {
	const kills = 20
	m := newMachine(t, 0)
	m.start(t, "--tuf-profile", "test")
	c := m.client(t)
	seen := map[string][32]byte{}
	var last int64
	began := time.Now()
	if err := admin.Dial(m.dir).Post(t.Context(), stack.AdminTUFRefresh, nil, new(stack.TUFStatus)); err != nil {
		t.Fatal(err)
	}
	most := max(80*time.Millisecond, 4*time.Since(began)) // for replicas, which wait for each other, or a busy machine
	for range kills {
		signed := make(chan int, 1)
		go func(dir string) {
			n := 0
			for a := admin.Dial(dir); ; n++ {
				if err := a.Post(t.Context(), stack.AdminTUFRefresh, nil, new(stack.TUFStatus)); err != nil {
					break
				}
			}
			signed <- n
		}(m.dir)
		time.Sleep(20*time.Millisecond + randomly(t, most)) // what is interrupted is left to chance
		m.kill()
		n := <-signed
		note(t, m.dir, seen)
		m.start(t)
		note(t, m.dir, seen)
		if err := c.update(t.Context()); err != nil {
			t.Fatalf("after a kill: a client is refused: %v", err)
		}
		now := m.served(t, "timestamp.json").Signed.Version
		if now < last+int64(n) {
			t.Errorf("timestamp %d, after %d and %d that were acknowledged", now, last, n)
		}
		last = now
	}
	if last < kills {
		t.Errorf("only %d timestamps were signed, so nothing was interrupted", last)
	}
	t.Logf("%d timestamps, %d files", last, len(seen))
}

// note remembers every file that never changes and compares it with what it was.
func note(t *testing.T, dir string, seen map[string][32]byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "tuf", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range names {
		name := filepath.Base(path)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		if was, ok := seen[name]; ok && was != sum && !strings.HasPrefix(name, "timestamp") {
			t.Errorf("%s is another than before", name)
		}
		seen[name] = sum
	}
}

func randomly(t *testing.T, most time.Duration) time.Duration {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(int64(most)))
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n.Int64())
}
