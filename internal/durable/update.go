package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Update replaces path by what change makes of its content, which is empty if there
// is no such file. Updates in one directory wait for each other, in other processes
// too, so that none is lost. A file of more than most bytes is an error; errors of
// change are returned as they are, and leave the file alone.
func Update(path string, perm fs.FileMode, most int64, change func(old []byte) ([]byte, error)) (err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("update %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }() // which releases the lock
	// The lock is the directory's: the file itself is replaced, and may not be there.
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("update %s: lock its directory: %w", path, err)
	}
	old, err := readAtMost(path, most)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("update %s: %w", path, err)
	}
	data, err := change(old)
	if err != nil {
		return err
	}
	return WriteFile(path, data, perm)
}

func readAtMost(path string, most int64) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		return nil, fmt.Errorf("it has more than %d bytes", most)
	}
	return data, err
}
