package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"sigstack/internal/durable"
)

// fileSystem is where the record lies: the disk, or a test's that fails.
type fileSystem interface {
	// Open opens a file for reading and writing, and makes it (mode 0600, its name
	// durable) if it is not there.
	Open(path string) (file, error)
	Stat(path string) (fs.FileInfo, error)
}

type file interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
	Close() error
}

type disk struct{}

func (disk) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

func (disk) Open(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// headFile keeps the newest head on disk. The log's turn owns it.
type headFile struct {
	file
	slot int64 // the one that is written next
}

// openHeads opens the head file of dir, of which slot is the one to write next.
func openHeads(fsys fileSystem, dir string, slot int64) (*headFile, error) {
	f, err := fsys.Open(filepath.Join(dir, headName))
	if err != nil {
		return nil, fmt.Errorf("open audit head: %w", err)
	}
	return &headFile{file: f, slot: slot}, nil
}

// put writes a head's slot and returns when it is on disk.
//
// What a crash leaves behind: while the one slot is written, the other holds the
// head before, on disk since the last put. Afterwards that one is overwritten too,
// so that nobody finds an old head to put back; should a crash spoil it, the new
// one is on disk.
func (h *headFile) put(slot []byte) error {
	if _, err := h.WriteAt(slot, h.slot*slotSize); err != nil {
		return fmt.Errorf("write audit head: %w", err)
	}
	if err := h.Sync(); err != nil {
		return fmt.Errorf("write audit head: %w", err)
	}
	h.slot = 1 - h.slot
	if _, err := h.WriteAt(slot, h.slot*slotSize); err != nil {
		return fmt.Errorf("write audit head: %w", err)
	}
	return nil
}
