package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	tufroot "sigstack/tuf-root"
)

// awaitedRoot marks a directory whose first root is made in a ceremony, until that
// is published: one that has lost its tuf/ shall not be taken for it.
func (l Layout) awaitedRoot() string { return filepath.Join(l.Dir, "root-awaited") }

// AwaitsRoot reports whether the directory waits for its first root, so that it
// cannot be served yet.
func (l Layout) AwaitsRoot() (bool, error) {
	found, err := exists(l.awaitedRoot())
	if err != nil {
		return false, fmt.Errorf("look whether the directory waits for its root: %w", err)
	}
	return found, nil
}

// rootCame removes the mark. A crash before it leaves a directory with both, in
// which publishing the same root once more comes here again.
func (l Layout) rootCame() error {
	if err := os.Remove(l.awaitedRoot()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("finish the first root: %w", err)
	}
	return durable.SyncDir(l.Dir)
}

// publish makes the first trust root, or leaves it to a ceremony.
func (cfg InitConfig) publish(ctx context.Context, l Layout, conf *config.Config) error {
	if cfg.Ceremony {
		return durable.CreateFile(l.awaitedRoot(), nil, 0o600)
	}
	return publishFirst(ctx, l, cfg, conf)
}

// AwaitsRootError is the error of Open for a directory that waits for its first
// root.
type AwaitsRootError struct{ Dir string }

func (e *AwaitsRootError) Error() string {
	return fmt.Sprintf("directory %s has no trust root yet: `sigstack tuf ceremony start --dir %s --folder FOLDER --root-key FILE …` begins the ceremony that makes it",
		e.Dir, e.Dir)
}

// awaitRoot reports whether the trust root is still to come out of a ceremony. That
// is refused unless the directory was opened for it.
func (s *Stack) awaitRoot() (bool, error) {
	waits, err := s.layout.AwaitsRoot()
	if !waits || err != nil {
		return false, err
	}
	came, err := exists(filepath.Join(s.layout.TUF(), "1.root.json")) // the last write of its publication
	if err != nil {
		return false, fmt.Errorf("look for the first root: %w", err)
	}
	if came {
		return false, s.layout.rootCame()
	}
	if !s.opts.AwaitedRoot {
		return true, &AwaitsRootError{s.layout.Dir}
	}
	s.awaitsRoot = true
	s.online, err = s.onlineKeys()
	return true, err
}

// onlineKeys are those that sign snapshot and timestamp.
func (s *Stack) onlineKeys() (tufroot.Online, error) {
	snapshot, err := s.key(s.conf.TUF.SnapshotKey)
	if err != nil {
		return tufroot.Online{}, err
	}
	timestamp, err := s.key(s.conf.TUF.TimestampKey)
	return tufroot.Online{Snapshot: snapshot, Timestamp: timestamp}, err
}
