package stack

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sigstack/internal/durable"
	"sigstack/internal/pki"
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

// chain reads the certificates at a path of the configuration.
func (l Layout) chain(path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(l.path(path))
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	chain, err := pki.ParseCertificatesPEM(data)
	if err != nil {
		return nil, fmt.Errorf("read certificates %s: %w", path, err)
	}
	return chain, nil
}

// unfinished marks a directory whose init has not come to its end. Nothing in
// such a directory was ever served or handed out.
func (l Layout) unfinished() string { return filepath.Join(l.Dir, "init-unfinished") }

// subdirectories are those that init makes.
func (l Layout) subdirectories() []string {
	return []string{l.Keys(), l.Offline(), filepath.Dir(l.LogDB()), l.TUF(), l.Client(), l.Checkpoints(), l.Audit(), l.Run()}
}

// Initialized reports whether the directory holds a finished stack.
func (l Layout) Initialized() (bool, error) {
	found, err := exists(l.Config())
	if err != nil {
		return false, fmt.Errorf("look for a stack: %w", err)
	}
	return found, nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// mayInit refuses a directory of somebody else's before so much as a lock is put
// there.
func (l Layout) mayInit() error {
	for _, ours := range []string{l.Config(), l.unfinished()} {
		if found, err := exists(ours); found || err != nil {
			return err
		}
	}
	return l.refuseOccupied()
}

// prepare makes an empty layout in Dir, or clears away what an interrupted init
// left there. It refuses a directory with anything else in it.
func (l Layout) prepare() error {
	interrupted, err := exists(l.unfinished())
	if err != nil {
		return fmt.Errorf("prepare %s: %w", l.Dir, err)
	}
	if interrupted {
		err = l.clear()
	} else {
		err = l.refuseOccupied()
	}
	if err != nil {
		return err
	}
	if err := l.sweep(); err != nil {
		return err
	}
	// From here on a crash leaves the marker: what is made is not yet a stack.
	if !interrupted {
		if err := durable.WriteFile(l.unfinished(), nil, 0o600); err != nil {
			return err
		}
	}
	for _, dir := range l.subdirectories() {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("prepare %s: %w", l.Dir, err)
		}
	}
	return durable.SyncDir(l.Dir)
}

// clear removes what an interrupted init made, but for the marker.
func (l Layout) clear() error {
	for _, path := range append(l.subdirectories(), l.DemoUser(), l.awaitedRoot()) {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("clear an interrupted init: %w", err)
		}
	}
	return nil
}

// sweep removes the temporary files that an init leaves in Dir itself when it is
// killed while writing.
func (l Layout) sweep() error {
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return fmt.Errorf("clear an interrupted init: %w", err)
	}
	for _, e := range entries {
		if !l.strayTemp(e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(l.Dir, e.Name())); err != nil {
			return fmt.Errorf("clear an interrupted init: %w", err)
		}
	}
	return nil
}

func (l Layout) strayTemp(name string) bool {
	for _, final := range []string{l.unfinished(), l.Config(), l.DemoUser(), l.awaitedRoot()} {
		if durable.IsTemp(name, filepath.Base(final)) {
			return true
		}
	}
	return false
}

// finish removes what init no longer needs, at its end or, after a crash right
// before that, at the next start. Were the marker to stay, an init after the loss
// of config.yaml would take a stack in use for an unfinished one.
func (l Layout) finish() error {
	if err := os.Remove(l.unfinished()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("finish init: %w", err)
	}
	if err := l.sweep(); err != nil {
		return err
	}
	return durable.SyncDir(l.Dir)
}

// refuseOccupied lets only the lock file of this very process be there, what
// file systems put into a fresh volume, and what an init leaves that is killed
// while it writes its marker.
func (l Layout) refuseOccupied() error {
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", l.Dir, err)
	}
	for _, e := range entries {
		if name := e.Name(); name != "lock" && name != "lost+found" && !l.strayTemp(name) {
			return fmt.Errorf("directory %s is not empty (it holds %s) and not a stack's: name an empty one", l.Dir, name)
		}
	}
	return nil
}
