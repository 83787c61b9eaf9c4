package audit_test

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"sigstack/internal/audit"
)

// crashing is a disk that remembers what a power cut would leave of it, before and
// after each operation: what was synced, or also what was not, or half of what was
// being written. The names of its files are durable once Open has made them.
type crashing struct {
	audit.Disk
	synced map[string][]byte // content on disk, by name
	cached map[string][]byte // content that readers see
	states []state
	acked  int // events that were acknowledged
}

// state is what may be left, and how much of it was promised.
type state struct {
	what  string
	files map[string][]byte
	acked int
}

func (c *crashing) snapshot(what string) {
	c.states = append(c.states, state{what + ", what was synced is left", maps.Clone(c.synced), c.acked},
		state{what + ", all is left", maps.Clone(c.cached), c.acked})
}

func (c *crashing) Open(path string) (audit.File, error) {
	f, err := c.Disk.Open(path)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(path)
	if _, known := c.synced[name]; !known {
		c.synced[name], c.cached[name] = nil, nil
	}
	c.snapshot("open " + name)
	return &crashingFile{f, c, name}, nil
}

type crashingFile struct {
	audit.File
	disk *crashing
	name string
}

// WriteAt also leaves the first half of p beside what was synced: a torn write.
func (f *crashingFile) WriteAt(p []byte, at int64) (int, error) {
	torn := maps.Clone(f.disk.synced)
	torn[f.name] = overwrite(f.disk.synced[f.name], p[:len(p)/2], at)
	f.disk.states = append(f.disk.states, state{"write " + f.name + ", half of it is left", torn, f.disk.acked})
	f.disk.cached[f.name] = overwrite(f.disk.cached[f.name], p, at)
	f.disk.snapshot("write " + f.name)
	return f.File.WriteAt(p, at)
}

func overwrite(old, p []byte, at int64) []byte {
	content := bytes.Clone(old)
	if missing := int(at) + len(p) - len(content); missing > 0 {
		content = append(content, make([]byte, missing)...) // a hole reads as zeros
	}
	copy(content[at:], p)
	return content
}

func (f *crashingFile) Truncate(size int64) error {
	f.disk.cached[f.name] = f.disk.cached[f.name][:size:size]
	f.disk.snapshot("truncate " + f.name)
	return f.File.Truncate(size)
}

func (f *crashingFile) Sync() error {
	f.disk.synced[f.name] = f.disk.cached[f.name]
	f.disk.snapshot("sync " + f.name)
	return f.File.Sync()
}

func (f *crashingFile) Stat() (fs.FileInfo, error) { return f.File.Stat() }

// TestAPowerCutLosesNothingAcknowledged: after a cut at any moment the record opens,
// holds what was acknowledged, is whole, and is gone on with.
func TestAPowerCutLosesNothingAcknowledged(t *testing.T) {
	disk := &crashing{synced: map[string][]byte{}, cached: map[string][]byte{}}
	o := options(t).On(disk)
	o.FileSize, o.Anchor = 1200, anchorAlways
	l := open(t, o)
	for i := range 8 {
		record(t, l, issued(i))
		disk.acked = i + 1
		if i == 4 {
			if _, err := l.Anchor(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	closeLog(t, l)
	if len(disk.states) < 100 {
		t.Fatalf("only %d states to try", len(disk.states))
	}
	for i, s := range disk.states {
		if !survives(t, o, s) {
			t.Errorf("state %d (%s) of %d events acknowledged", i, s.what, s.acked)
		}
	}
}

func survives(t *testing.T, o audit.Options, s state) bool {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range s.files {
		writeFile(t, filepath.Join(dir, name), content)
	}
	after := o.On(audit.Disk{})
	after.Dir = dir
	l, err := audit.Open(t.Context(), after)
	if err != nil {
		t.Errorf("open: %v", err)
		return false
	}
	record(t, l, issued(1000))
	closeLog(t, l)
	if _, err := verify(t, after); err != nil {
		t.Errorf("verify: %v", err)
		return false
	}
	n := 0
	for _, r := range records(t, dir) {
		if r.Action == audit.ActionCertificate && r.Detail["serial"] != "1000" {
			n++
		}
	}
	if n < s.acked || n > s.acked+1 {
		t.Errorf("got %d events", n)
		return false
	}
	return true
}
