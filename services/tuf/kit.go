package tuf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"sigstack/internal/durable"
	"sigstack/internal/trust"
)

// WriteKit puts the client kit into dir, which it makes if need be. Files that
// already have their content are left alone, and those of a kit that no longer
// belong to it are removed; others in dir are not touched.
func WriteKit(dir string, kit trust.Kit) error {
	home, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("write kit: %w", err)
	}
	files, err := kit.Files(home)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(home, 0o755); err != nil { //nolint:gosec // all of it is served to the public
		return fmt.Errorf("write kit: %w", err)
	}
	for _, f := range files {
		if err := update(filepath.Join(home, f.Name), f.Data); err != nil {
			return fmt.Errorf("write kit: %w", err)
		}
	}
	for _, name := range trust.KitNames() {
		if slices.ContainsFunc(files, func(f trust.File) bool { return f.Name == name }) {
			continue
		}
		if err := os.Remove(filepath.Join(home, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write kit: %w", err)
		}
	}
	return nil
}

// update spares the disk a write that would change nothing.
func update(path string, data []byte) error {
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return durable.WriteFile(path, data, 0o644)
}
