package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sigstack/internal/durable"
)

// prepared is the configuration of a process before it counts.
func (l Layout) prepared() string { return l.Config() + ".prepared" }

// prepareShare empties what an interrupted split of source left in a process's
// directory, and refuses one with anything else in it.
func (l Layout) prepareShare(source string) error {
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
	_, interrupted, err := l.splitFrom()
	if err != nil {
		return fmt.Errorf("prepare %s: %w", l.Dir, err)
	}
	if !interrupted {
		if err := l.refuseOccupied(); err != nil {
			return err
		}
		if err := durable.WriteFile(l.splitUnfinished(), []byte(source+"\n"), 0o600); err != nil {
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

// copyStep is how many bytes are copied between two looks at whether to go on.
const copyStep = 8 << 20

// copier copies files until it is told not to go on.
type copier struct {
	copied int64             // bytes so far
	tell   func(bytes int64) // called at the beginning and after each step
}

// copyFrom copies what the process gets from the directory that is split, until
// ctx ends. Paths out of that directory stay what they are: the file is where it
// was.
func (sh *share) copyFrom(ctx context.Context, from Layout, tell func(bytes int64)) error {
	c := &copier{tell: tell}
	c.tell(0)
	for _, name := range sh.keys {
		if err := c.copyKey(ctx, from, sh.layout, name); err != nil {
			return err
		}
	}
	for _, name := range sh.files {
		if name == "" || filepath.IsAbs(name) {
			continue
		}
		err := c.copyFile(ctx, from.path(name), sh.layout.path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a file that is missing was missed before, or is not needed
			return err
		}
	}
	for _, name := range sh.trees {
		if err := c.copyTree(ctx, from.path(name), sh.layout.path(name)); err != nil {
			return err
		}
	}
	return nil
}

// copyKey copies the files of one key or secret: NAME.key, NAME.ref, NAME.secret.
func (c *copier) copyKey(ctx context.Context, from, to Layout, name string) error {
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
		if err := c.copyFile(ctx, filepath.Join(from.Keys(), e.Name()), filepath.Join(to.Keys(), e.Name())); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("copy key %s: there is no such key in %s", name, from.Keys())
	}
	return nil
}

// copyTree copies a directory and all below it, durably.
func (c *copier) copyTree(ctx context.Context, from, to string) error {
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
			return c.copyFile(ctx, path, target)
		default:
			return fmt.Errorf("copy %s: it is neither file nor directory", path)
		}
	})
}

// copyFile copies a file that does not exist yet, with its mode, durably.
func (c *copier) copyFile(ctx context.Context, from, to string) (err error) {
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
	err = c.copyBytes(ctx, out, in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return durable.SyncDir(filepath.Dir(to))
}

func (c *copier) copyBytes(ctx context.Context, out io.Writer, in io.Reader) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(out, in, copyStep)
		c.copied += n
		c.tell(c.copied)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
