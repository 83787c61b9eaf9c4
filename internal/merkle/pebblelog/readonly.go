package pebblelog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ReadOptions of a Store that only reads.
type ReadOptions struct {
	// FS is where the directory lies; nil: the operating system's files.
	FS vfs.FS
	// Lengths hides what is behind these lengths, in bytes, in files by name.
	Lengths map[string]int64
}

// OpenReadOnly opens dir without changing a byte of it, nor adding a file: what the
// write-ahead log holds is read into memory. Nobody may have it open for writing.
func OpenReadOnly(dir string, o ReadOptions) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	s := newStore(Options{Now: nil})
	po := s.pebbleOptions(Options{FS: readOnlyFS{o.FS, o.Lengths}})
	po.ReadOnly = true
	var err error
	if s.db, err = openRecovered(dir, po); err != nil {
		return nil, fmt.Errorf("open log storage in %s for reading: %w", dir, err)
	}
	return s, nil
}

// openRecovered turns panics of a damaged directory into errors.
func openRecovered(dir string, po *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%v", cause)
		}
	}()
	return pebble.Open(dir, po)
}

// PebbleOptions are those that a Store is opened with, for who looks at its files.
func PebbleOptions(fs vfs.FS) *pebble.Options {
	po := newStore(Options{}).pebbleOptions(Options{FS: fs})
	po.EnsureDefaults()
	return po
}

// errReadOnly is the answer to whatever would write.
var errReadOnly = errors.New("opened for reading only")

// readOnlyFS passes reading on.
type readOnlyFS struct {
	vfs.FS
	lengths map[string]int64
}

func (f readOnlyFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, opts...)
	if length, ok := f.lengths[filepath.Base(name)]; ok && err == nil {
		return shortFile{file, io.NewSectionReader(file, 0, length)}, nil
	}
	return file, err
}

func (readOnlyFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, errReadOnly }
func (readOnlyFS) Link(string, string) error                              { return errReadOnly }
func (readOnlyFS) Remove(string) error                                    { return errReadOnly }
func (readOnlyFS) RemoveAll(string) error                                 { return errReadOnly }
func (readOnlyFS) Rename(string, string) error                            { return errReadOnly }
func (readOnlyFS) MkdirAll(string, os.FileMode) error                     { return errReadOnly }

func (readOnlyFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errReadOnly
}

func (readOnlyFS) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errReadOnly
}

// Lock takes none: the data directory has a lock of its own, and this one is a
// file that would have to be made.
func (readOnlyFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (f readOnlyFS) Unwrap() vfs.FS { return f.FS }

// shortFile ends before its file does.
type shortFile struct {
	vfs.File
	part *io.SectionReader
}

func (f shortFile) Read(p []byte) (int, error)              { return f.part.Read(p) }
func (f shortFile) ReadAt(p []byte, off int64) (int, error) { return f.part.ReadAt(p, off) }

// Table is a file of rows that the database uses, and the keys that it may hold.
type Table struct {
	Name              string
	Size              uint64
	Smallest, Largest []byte
}

// Tables returns the tables of the database, which does not open them.
func (s *Store) Tables() ([]Table, error) {
	levels, err := s.db.SSTables()
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	var tables []Table
	for _, level := range levels {
		for _, t := range level {
			tables = append(tables, Table{
				Name: fmt.Sprintf("%06d.sst", uint64(t.BackingSSTNum)), Size: t.Size,
				Smallest: t.Smallest.UserKey, Largest: t.Largest.UserKey,
			})
		}
	}
	return tables, nil
}
