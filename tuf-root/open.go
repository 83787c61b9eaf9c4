package tufroot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// Open loads the repository and verifies all that clients would: the chain of
// roots from the first, timestamp, snapshot, targets and the content of every
// target. It ignores expiry, which Status tells and Refresh repairs. The error
// matches fs.ErrNotExist when there is no repository.
func Open(cfg Config) (*Repository, error) {
	r, err := newRepository(cfg, durableDisk())
	if err != nil {
		return nil, err
	}
	if err := r.load(); err != nil {
		return nil, fmt.Errorf("open TUF repository: %w", err)
	}
	return r, nil
}

// Reload takes what another process has put into the directory, after verifying all
// of it as Open does. An error leaves the repository as it was.
func (r *Repository) Reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := newRepository(r.config(), r.disk)
	if err != nil {
		return err
	}
	if err := next.load(); err != nil {
		return fmt.Errorf("reload TUF repository: %w", err)
	}
	if !bytes.Equal(next.first, r.first) {
		return errors.New("reload TUF repository: its first root is another one")
	}
	r.root, r.targets, r.snapshot, r.timestamp = next.root, next.targets, next.snapshot, next.timestamp
	r.signed, r.pending, r.published, r.record = next.signed, next.pending, next.published, next.record
	return nil
}

func (r *Repository) load() error {
	var err error
	if r.first, err = r.read(versioned(1, metadata.ROOT)); err != nil {
		return err
	}
	trusted, err := r.loadRoots()
	if err != nil {
		return err
	}
	if err := r.loadTimestamp(trusted); err != nil {
		return err
	}
	snapshot, err := r.read(versioned(version(r.timestamp.Signed.Meta, metadata.SNAPSHOT), metadata.SNAPSHOT))
	if err != nil {
		return err
	}
	if r.snapshot, err = trusted.UpdateSnapshot(snapshot, false); err != nil {
		return fmt.Errorf("verify snapshot: %w", err)
	}
	targets, err := r.read(versioned(version(r.snapshot.Signed.Meta, metadata.TARGETS), metadata.TARGETS))
	if err != nil {
		return err
	}
	if r.targets, err = trusted.UpdateTargets(targets); err != nil {
		return fmt.Errorf("verify targets: %w", err)
	}
	if err := r.checkFiles(r.targets.Signed.Targets); err != nil {
		return err
	}
	return r.loadRecord()
}

// loadTimestamp takes the published timestamp and then, if it is newer, the one
// that was about to replace it; Refresh will carry that through.
func (r *Repository) loadTimestamp(trusted *trustedmetadata.TrustedMetadata) error {
	data, err := r.read(timestampFile)
	if err != nil {
		return err
	}
	if r.timestamp, err = trusted.UpdateTimestamp(data); err != nil {
		return fmt.Errorf("verify timestamp: %w", err)
	}
	r.publish()
	next, version, err := r.readTimestamp(nextFile)
	if err != nil {
		return err
	}
	if version > r.timestamp.Signed.Version {
		if r.timestamp, err = trusted.UpdateTimestamp(next); err != nil {
			return fmt.Errorf("verify next timestamp: %w", err)
		}
		r.pending = next
	}
	r.signed = r.timestamp.Signed.Version
	return nil
}

// readTimestamp reads a timestamp without verifying it. An absent file has
// version 0.
func (r *Repository) readTimestamp(name string) ([]byte, int64, error) {
	data, err := r.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	m, err := metadata.Timestamp().FromBytes(data)
	if err != nil {
		return nil, 0, fmt.Errorf("parse %s: %w", name, err)
	}
	return data, m.Signed.Version, nil
}

// loadRoots follows the chain and refuses gaps, at which clients would stop.
func (r *Repository) loadRoots() (*trustedmetadata.TrustedMetadata, error) {
	trusted, err := trustedmetadata.New(r.first)
	if err != nil {
		return nil, fmt.Errorf("verify root 1: %w", err)
	}
	// The zero time is before every expiry.
	trusted.RefTime = time.Time{}
	last, err := newest(r.dir, metadata.ROOT)
	if err != nil {
		return nil, err
	}
	for v := int64(2); v <= last; v++ {
		data, err := r.read(versioned(v, metadata.ROOT))
		if err != nil {
			return nil, err
		}
		if _, err := trusted.UpdateRoot(data); err != nil {
			return nil, fmt.Errorf("verify root %d: %w", v, err)
		}
	}
	r.root = trusted.Root
	return trusted, nil
}

// checkFiles checks the content of files that targets name.
func (r *Repository) checkFiles(files map[string]*metadata.TargetFiles) error {
	for name, file := range files {
		if !targetName.MatchString(name) || len(file.Hashes["sha256"]) == 0 {
			return fmt.Errorf("target %q: not as this program writes it", name)
		}
		data, err := r.read(targetPath(name, file))
		if err != nil {
			return err
		}
		if err := file.VerifyLengthHashes(data); err != nil {
			return fmt.Errorf("verify target %s: %w", name, err)
		}
	}
	return nil
}

// Target returns the published content of a target; the error matches
// fs.ErrNotExist when there is none of that name.
func (r *Repository) Target(name string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	file, ok := r.targets.Signed.Targets[name]
	if !ok {
		return nil, fmt.Errorf("target %s: %w", name, fs.ErrNotExist)
	}
	data, err := r.read(targetPath(name, file))
	if err != nil {
		return nil, err
	}
	if err := file.VerifyLengthHashes(data); err != nil {
		return nil, fmt.Errorf("verify target %s: %w", name, err)
	}
	return data, nil
}

// version looks up the version of a role's file, 0 when it is not listed.
func version(meta map[string]*metadata.MetaFiles, role string) int64 {
	if m := meta[role+".json"]; m != nil {
		return m.Version
	}
	return 0
}

func (r *Repository) read(name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}
