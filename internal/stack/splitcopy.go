package stack

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sigstack/internal/durable"
)

// splitUnfinished marks a process's directory that is not complete, so that
// nobody takes it for one.
func (l Layout) splitUnfinished() string { return filepath.Join(l.Dir, "split-unfinished") }

// prepared is the configuration of a process before it counts.
func (l Layout) prepared() string { return l.Config() + ".prepared" }

// prepareShare empties what an interrupted split left in a process's directory,
// and refuses one with anything else in it.
func (l Layout) prepareShare() error {
	if err := durable.MkdirAll(l.Dir, 0o700); err != nil {
		return err
	}
	done, err := l.Initialized()
	if err != nil {
		return err
	}
	if done {
		return fmt.Errorf("%s: %w", l.Dir, ErrInitialized)
	}
	interrupted, err := exists(l.splitUnfinished())
	if err != nil {
		return fmt.Errorf("prepare %s: %w", l.Dir, err)
	}
	if !interrupted {
		if err := l.refuseOccupied(); err != nil {
			return err
		}
		if err := durable.WriteFile(l.splitUnfinished(), nil, 0o600); err != nil {
			return err
		}
	}
	if err := l.removeAllBut("lock", "lost+found", filepath.Base(l.splitUnfinished())); err != nil {
		return err
	}
	for _, dir := range []string{l.Keys(), filepath.Join(l.Dir, "db"), l.Checkpoints(), l.Run(), filepath.Dir(l.Peer(""))} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("prepare %s: %w", l.Dir, err)
		}
	}
	return nil
}

func (l Layout) removeAllBut(names ...string) error {
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return fmt.Errorf("clear an interrupted split: %w", err)
	}
	keep := map[string]bool{}
	for _, n := range names {
		keep[n] = true
	}
	for _, e := range entries {
		if keep[e.Name()] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(l.Dir, e.Name())); err != nil {
			return fmt.Errorf("clear an interrupted split: %w", err)
		}
	}
	return nil
}

// copyFrom copies what the process gets from the directory that is split. Paths
// out of that directory stay what they are: the file is where it was.
func (sh *share) copyFrom(from Layout) error {
	for _, name := range sh.keys {
		if err := copyKey(from, sh.layout, name); err != nil {
			return err
		}
	}
	for _, name := range sh.files {
		if name == "" || filepath.IsAbs(name) {
			continue
		}
		err := copyFile(from.path(name), sh.layout.path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a file that is missing was missed before, or is not needed
			return err
		}
	}
	for _, name := range sh.trees {
		if err := copyTree(from.path(name), sh.layout.path(name)); err != nil {
			return err
		}
	}
	return nil
}

// copyKey copies the files of one key or secret: NAME.key, NAME.ref, NAME.secret.
func copyKey(from, to Layout, name string) error {
	entries, err := os.ReadDir(from.Keys())
	if err != nil {
		return fmt.Errorf("copy key %s: %w", name, err)
	}
	found := false
	for _, e := range entries {
		stem, kind, _ := strings.Cut(e.Name(), ".")
		if stem != name || kind != "key" && kind != "ref" && kind != "secret" {
			continue
		}
		found = true
		if err := copyFile(filepath.Join(from.Keys(), e.Name()), filepath.Join(to.Keys(), e.Name())); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("copy key %s: there is no such key in %s", name, from.Keys())
	}
	return nil
}

// copyTree copies a directory and all below it, durably.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
		rest, err := filepath.Rel(from, path)
		if err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
		target := filepath.Join(to, rest)
		switch {
		case e.IsDir():
			info, err := e.Info()
			if err != nil {
				return fmt.Errorf("copy %s: %w", path, err)
			}
			return durable.MkdirAll(target, info.Mode().Perm())
		case e.Type().IsRegular():
			return copyFile(path, target)
		default:
			return fmt.Errorf("copy %s: it is neither file nor directory", path)
		}
	})
}

// copyFile copies a file that does not exist yet, with its mode, durably.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer in.Close() //nolint:errcheck // only read from
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := durable.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if errors.Is(err, fs.ErrExist) {
		return nil // two settings name one file
	}
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return durable.SyncDir(filepath.Dir(to))
}
