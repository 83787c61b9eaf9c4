package durable

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// fewFiles are so few that each is synced by itself: a sync of a whole file system also
// writes what others left unwritten there.
const fewFiles = 16

// Batch creates files as CreateFile does, many at the price of a few syncs: Create and
// CreateAfter write what Commit then puts in place. Until then a file has a temporary name
// (IsTemp), and a crash leaves no more of it than that. It is safe for concurrent use; the
// zero value is ready, and every Create needs a Commit after it.
type Batch struct {
	mu sync.Mutex
	round
	names uint64 // number of the last temporary file; 0: none yet
}

// round is what one commit puts in place.
type round struct {
	files [2][]batchFile // those of Create, and those of CreateAfter
	dirs  map[string]*directory
}

type batchFile struct {
	temp, path string
	open       *os.File // of the first few
}

// directory is one that files are created in, opened before the first of them: its handle
// tells of every write that failed since.
type directory struct {
	*os.File
	device uint64
	whole  bool // its file system is synced as a whole
}

// Create writes data for path, which must not exist when it is committed.
func (b *Batch) Create(path string, data []byte, perm fs.FileMode) error {
	return b.create(0, path, data, perm)
}

// CreateAfter is Create for a file that is never there, after a crash either, while one of
// Create of the same commit is not.
func (b *Batch) CreateAfter(path string, data []byte, perm fs.FileMode) error {
	return b.create(1, path, data, perm)
}

func (b *Batch) create(turn int, path string, data []byte, perm fs.FileMode) error {
	dir, err := b.directory(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := b.temp(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(perm))
	if err == nil && !dir.whole {
		err = f.Sync()
	}
	if err == nil {
		err = b.add(turn, batchFile{f.Name(), path, f})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), f.Close(), os.Remove(f.Name()))
	}
	return nil
}

// add closes all but the first few files.
func (b *Batch) add(turn int, f batchFile) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.len() >= fewFiles {
		if err := f.open.Close(); err != nil {
			return err
		}
		f.open = nil
	}
	b.files[turn] = append(b.files[turn], f)
	return nil
}

// directory opens a directory, once a commit.
func (b *Batch) directory(name string) (*directory, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d, ok := b.dirs[name]; ok {
		return d, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	d := &directory{File: f}
	if d.device, d.whole, err = syncsWhole(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if b.dirs == nil {
		b.dirs = map[string]*directory{}
	}
	b.dirs[name] = d
	return d, nil
}

// temp makes a temporary file beside path.
func (b *Batch) temp(path string) (*os.File, error) {
	dir, base := filepath.Split(path)
	for {
		name := filepath.Join(dir, tempPrefix(base)+strconv.FormatUint(b.number(), 10))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

func (b *Batch) number() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.names == 0 {
		var start [4]byte
		_, _ = rand.Read(start[:]) // never fails (crypto/rand)
		b.names = uint64(binary.BigEndian.Uint32(start[:])) << 20
	}
	b.names++
	return b.names
}

// Len is how many files the next Commit puts in place.
func (b *Batch) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.len()
}

func (r *round) len() int { return len(r.files[0]) + len(r.files[1]) }

// Commit puts in place what was written since the last one; on return it is on disk. If
// a name is taken the error matches fs.ErrExist, and that file is untouched. After an error
// some files may be in place, each of them whole, and the others are gone.
func (b *Batch) Commit() error {
	b.mu.Lock()
	r := b.round
	b.round = round{}
	b.mu.Unlock()
	err := r.commit()
	if err != nil {
		err = errors.Join(err, r.discard())
	}
	for _, d := range r.dirs {
		err = errors.Join(err, d.Close())
	}
	return err
}

func (r *round) commit() error {
	// Content before names: a name is never that of a file which a power cut empties.
	if err := r.sync(); err != nil {
		return err
	}
	for _, files := range r.files {
		if err := r.publish(files); err != nil {
			return err
		}
	}
	return nil
}

// sync makes the contents durable, and closes what is open.
func (r *round) sync() error {
	each := r.len() <= fewFiles
	var errs []error
	for _, files := range r.files {
		for _, f := range files {
			if f.open == nil {
				continue
			}
			if each {
				errs = append(errs, f.open.Sync())
			}
			errs = append(errs, f.open.Close())
		}
	}
	if err := errors.Join(errs...); err != nil || each {
		return err
	}
	synced := map[uint64]bool{}
	for _, d := range r.dirs {
		if !d.whole || synced[d.device] {
			continue
		}
		if err := syncWhole(d.File); err != nil {
			return fmt.Errorf("sync the file system of %s: %w", d.Name(), err)
		}
		synced[d.device] = true
	}
	return nil
}

// publish gives files their names, and makes those durable.
func (r *round) publish(files []batchFile) error {
	dirs := map[*directory]bool{}
	for _, f := range files {
		if err := place(f.temp, f.path); err != nil {
			return fmt.Errorf("create %s: %w", f.path, err)
		}
		dirs[r.dirs[filepath.Dir(f.path)]] = true
	}
	for d := range dirs {
		if err := d.Sync(); err != nil {
			return fmt.Errorf("sync directory %s: %w", d.Name(), err)
		}
	}
	return nil
}

// place renames temp to path, which must not exist.
func place(temp, path string) error {
	err := renameNew(temp, path)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	// link, unlike rename, fails when the name is taken.
	if err := os.Link(temp, path); err != nil {
		return err
	}
	return os.Remove(temp)
}

// discard removes the files that were not put in place.
func (r *round) discard() error {
	var errs []error
	for _, files := range r.files {
		for _, f := range files {
			if err := os.Remove(f.temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
