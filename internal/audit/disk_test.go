package audit_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unicode"

	"sigstack/internal/audit"
	"sigstack/internal/fault"
)

// faulty is a disk that fails on demand, operation by operation.
type faulty struct {
	audit.Disk
	fail func(op, name string) error // nil: nothing fails; guarded by mu
	mu   sync.Mutex
	ops  atomic.Int64
}

func (f *faulty) set(fail func(op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *faulty) check(op, path string) error {
	f.ops.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		return nil
	}
	return f.fail(op, filepath.Base(path))
}

func (f *faulty) Open(path string) (audit.File, error) {
	if err := f.check("open", path); err != nil {
		return nil, err
	}
	file, err := f.Disk.Open(path)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f, path}, nil
}

type faultyFile struct {
	audit.File
	disk *faulty
	path string
}

// WriteAt writes half of what it is given where it fails.
func (f *faultyFile) WriteAt(p []byte, at int64) (int, error) {
	if err := f.disk.check("write", f.path); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], at)
		return n, err
	}
	return f.File.WriteAt(p, at)
}

func (f *faultyFile) Sync() error {
	if err := f.disk.check("sync", f.path); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.disk.check("truncate", f.path); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultyFile) Stat() (fs.FileInfo, error) { return f.File.Stat() }

// onlyPanics is only for what may not happen.
func onlyPanics(op, prefix string) func(op, name string) error {
	fails := only(op, prefix, syscall.EIO)
	return func(op, name string) error {
		if fails(op, name) != nil {
			panic("on purpose")
		}
		return nil
	}
}

// TestAFailingDiskHeals: whatever fails, an event that cannot be recorded is an
// error of kind Unavailable, and when the disk works again so does the record,
// with a record of the time in between and nothing lost or doubled.
func TestAFailingDiskHeals(t *testing.T) {
	for name, fail := range map[string]func(op, name string) error{
		"no space":               only("write", "audit-", syscall.ENOSPC),
		"records do not sync":    only("sync", "audit-", syscall.EIO),
		"two errors at once":     only("sync", "audit-", errors.Join(syscall.EIO, syscall.EROFS)),
		"head is not written":    only("write", "head", syscall.EIO),
		"head does not sync":     only("sync", "head", syscall.EIO),
		"no new file":            only("open", "audit-", syscall.ENOSPC),
		"nothing can be cut":     both(only("write", "audit-", syscall.ENOSPC), only("truncate", "audit-", syscall.EIO)),
		"nothing works any more": func(string, string) error { return syscall.EIO },
		"a panic":                onlyPanics("sync", "audit-"),
	} {
		t.Run(name, func(t *testing.T) {
			disk := &faulty{}
			var health []audit.Health
			o := options(t).On(disk)
			o.FileSize = 1 << 10 // so that files begin while it fails, too
			o.Report = func(h audit.Health) { health = append(health, h) }
			l := open(t, o)
			record(t, l, issued(0), issued(1))
			disk.set(fail)
			lost := 0
			for i := range 4 {
				if err := l.Record(t.Context(), issued(100+i)); err != nil {
					lost++
					if fault.KindOf(err) != fault.Unavailable {
						t.Errorf("got %v, want kind Unavailable", err)
					}
					if l.Ready(t.Context()) == nil {
						t.Error("ready although nothing can be recorded")
					}
				}
			}
			if lost == 0 {
				t.Fatal("nothing failed")
			}
			disk.set(nil)
			if err := l.Ready(t.Context()); err != nil {
				t.Errorf("ready afterwards: %v", err)
			}
			record(t, l, issued(2))
			closeLog(t, l)
			checkHealed(t, o, lost)
			if len(health) != 2 || health[0].Write == nil || health[1].Write != nil {
				t.Errorf("reported %v, want that it failed, and that it works", health)
			}
		})
	}
}

func only(op, file string, err error) func(string, string) error {
	return func(gotOp, gotFile string) error {
		if gotOp == op && strings.HasPrefix(gotFile, file) {
			return err
		}
		return nil
	}
}

func both(a, b func(string, string) error) func(string, string) error {
	return func(op, file string) error { return errors.Join(a(op, file), b(op, file)) }
}

// checkHealed wants the events that were acknowledged, once each, and a record of
// those that were not.
func checkHealed(t *testing.T, o audit.Options, lost int) {
	t.Helper()
	mustVerify(t, o)
	resumed := 0
	var serials []string
	for _, r := range records(t, o.Dir) {
		switch r.Action {
		case audit.ActionResume:
			resumed++
			if r.Detail["cause"] == "" || r.Detail["since"] == "" {
				t.Errorf("resumed without a cause: %v", r.Detail)
			}
			if strings.ContainsRune(r.Detail["cause"], unicode.ReplacementChar) {
				t.Errorf("resumed with a cause on several lines: %q", r.Detail["cause"])
			}
		case audit.ActionCertificate:
			serials = append(serials, r.Detail["serial"])
		}
	}
	if resumed != 1 {
		t.Errorf("got %d records of the time in between, want 1", resumed)
	}
	if want := 4 - lost + 3; len(serials) != want {
		t.Errorf("got events %v, want %d", serials, want)
	}
}

// TestAFullDisk: the same on a real one.
func TestAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	o := options(t)
	if err := syscall.Mount("tmpfs", o.Dir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		t.Skipf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(o.Dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	l := open(t, o)
	record(t, l, issued(0))
	ballast := filepath.Join(o.Dir, "ballast")
	fill(t, ballast)
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = l.Record(t.Context(), issued(n))
	}
	if !errors.Is(err, syscall.ENOSPC) || fault.KindOf(err) != fault.Unavailable {
		t.Fatalf("after %d records: got %v, want that the disk is full", n, err)
	}
	if err := l.Ready(t.Context()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("ready: got %v, want that the disk is full", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := l.Ready(t.Context()); err != nil {
		t.Errorf("with space again: %v", err)
	}
	record(t, l, issued(0))
	closeLog(t, l)
	if rep := mustVerify(t, o); rep.Records != uint64(n)+3 {
		t.Errorf("got %d records, want those %d that were acknowledged, two of the record's own and one", rep.Records, n)
	}
}

// fill writes to path until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOthersHandsOff: a file that somebody else wrote to, cut or replaced while it
// is served is noticed by the next record.
func TestOthersHandsOff(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, path string){
		"added to": func(t *testing.T, path string) { writeFile(t, path, append(readFile(t, path), "x\n"...)) },
		"cut":      func(t *testing.T, path string) { writeFile(t, path, readFile(t, path)[:200]) },
		"removed":  remove,
		"replaced": func(t *testing.T, path string) {
			data := readFile(t, path)
			remove(t, path)
			writeFile(t, path, data[:200])
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			l := open(t, o)
			record(t, l, issued(0))
			change(t, files(t, o.Dir)[0])
			if err := l.Record(t.Context(), issued(1)); fault.KindOf(err) != fault.Unavailable {
				t.Errorf("got %v, want kind Unavailable", err)
			}
		})
	}
}
