// Package durable writes files that survive a power cut: whole or not at all,
// with the file and its directory synced before success is reported. It also
// holds the lock that keeps a second process out of a directory.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// WriteFile replaces path by data. A crash leaves either the old content or the
// new, never a mixture; on return the new content is on disk.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	tmp, err := writeTemp(path, data, perm)
	if err != nil {
		return err
	}
	// A crash here leaves a stray temporary file, which nothing reads.
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(fmt.Errorf("replace %s: %w", path, err), os.Remove(tmp))
	}
	return SyncDir(filepath.Dir(path))
}

// CreateFile writes data to path, which must not exist yet: otherwise the error
// matches fs.ErrExist and the existing file is untouched.
func CreateFile(path string, data []byte, perm fs.FileMode) error {
	tmp, err := writeTemp(path, data, perm)
	if err != nil {
		return err
	}
	// link, unlike rename, fails when the name is taken.
	err = os.Link(tmp, path)
	if rmErr := os.Remove(tmp); err == nil && rmErr != nil {
		err = rmErr
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// MkdirAll makes dir, and what is missing on the way to it, as os.MkdirAll does,
// and makes the new names durable: syncing a file does not sync the names of the
// directories it lies in.
func MkdirAll(dir string, perm fs.FileMode) error {
	var parents []string // of the directories that are made, the deepest first
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) {
			break // there, or not to be reached: then os.MkdirAll says why
		}
		parents = append(parents, filepath.Dir(d))
	}
	if err := os.MkdirAll(dir, perm); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	for _, parent := range parents {
		if err := SyncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

// IsTemp reports whether name, a file's last path element, is that of a
// temporary file which a crash left behind in place of one named final.
func IsTemp(name, final string) bool {
	return strings.HasPrefix(name, tempPrefix(final))
}

func tempPrefix(final string) string { return "." + final + ".tmp-" }

// SyncDir makes the directory's entries durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	if err := d.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync directory %s: %w", dir, err), d.Close())
	}
	return d.Close()
}

// writeTemp writes and syncs a temporary file beside path and returns its name.
func writeTemp(path string, data []byte, perm fs.FileMode) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix(filepath.Base(path))+"*")
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", path, err), f.Close(), os.Remove(f.Name()))
		}
	}()
	if err := f.Chmod(perm); err != nil {
		return "", err
	}
	if _, err := f.Write(data); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}
