package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sigstack/internal/durable"
)

// Layout names everything below a data directory.
type Layout struct{ Dir string }

// Names inside the directory (interface: Directory).
func (l Layout) Config() string      { return filepath.Join(l.Dir, "config.yaml") }
func (l Layout) Keys() string        { return filepath.Join(l.Dir, "keys") }
func (l Layout) Offline() string     { return filepath.Join(l.Dir, "offline") }
func (l Layout) LogDB() string       { return filepath.Join(l.Dir, "db", "log") }
func (l Layout) OIDCDB() string      { return filepath.Join(l.Dir, "db", "oidc") }
func (l Layout) TUF() string         { return filepath.Join(l.Dir, "tuf") }
func (l Layout) Client() string      { return filepath.Join(l.Dir, "client") }
func (l Layout) Checkpoints() string { return filepath.Join(l.Dir, "checkpoints") }
func (l Layout) Run() string         { return filepath.Join(l.Dir, "run") }
func (l Layout) DemoUser() string    { return filepath.Join(l.Dir, "demo-user") }

// Head is where the newest published head of a tree is kept outside the
// database.
func (l Layout) Head(tree string) string { return filepath.Join(l.Checkpoints(), tree) }

// path resolves a path of the configuration: relative ones are below Dir.
func (l Layout) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(l.Dir, p)
}

// unfinished marks a directory whose init has not come to its end. Nothing in
// such a directory was ever served or handed out.
func (l Layout) unfinished() string { return filepath.Join(l.Dir, "init-unfinished") }

// subdirectories are those that init makes.
func (l Layout) subdirectories() []string {
	return []string{l.Keys(), l.Offline(), filepath.Dir(l.LogDB()), l.TUF(), l.Client(), l.Checkpoints(), l.Run()}
}

// Initialized reports whether the directory holds a finished stack.
func (l Layout) Initialized() (bool, error) {
	_, err := os.Stat(l.Config())
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("look for a stack: %w", err)
	}
}

// prepare makes an empty layout in Dir, or clears away what an interrupted init
// left there. It refuses a directory with anything else in it.
func (l Layout) prepare() error {
	_, err := os.Stat(l.unfinished())
	switch {
	case err == nil:
		for _, dir := range l.subdirectories() {
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("clear an interrupted init: %w", err)
			}
		}
		if err := os.RemoveAll(l.DemoUser()); err != nil {
			return fmt.Errorf("clear an interrupted init: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("prepare %s: %w", l.Dir, err)
	default:
		if err := l.refuseOccupied(); err != nil {
			return err
		}
	}
	if err := durable.WriteFile(l.unfinished(), nil, 0o600); err != nil {
		return err
	}
	for _, dir := range l.subdirectories() {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("prepare %s: %w", l.Dir, err)
		}
	}
	return durable.SyncDir(l.Dir)
}

// refuseOccupied lets only the lock file of this very process be there, and
// what file systems put into a fresh volume.
func (l Layout) refuseOccupied() error {
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", l.Dir, err)
	}
	for _, e := range entries {
		if name := e.Name(); name != "lock" && name != "lost+found" {
			return fmt.Errorf("directory %s is not empty (it holds %s) and not a stack's: name an empty one", l.Dir, name)
		}
	}
	return nil
}
