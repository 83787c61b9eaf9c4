package tufroot

import (
	"crypto"
	"fmt"
	"os"
	"path/filepath"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sigstack/internal/durable"
	"sigstack/internal/trust"
)

// Create signs the first root and publishes targets under it. The error matches
// ErrExists when the directory holds a root; then nothing is touched.
func Create(cfg Config, keys Keys, targets []trust.Target) (*Repository, error) {
	return create(cfg, keys, targets, durableDisk())
}

// create writes the root last. Without one there is no repository, so after a
// crash before that Create can run again; what it finds then are files that
// nothing refers to.
func create(cfg Config, keys Keys, targets []trust.Target, d disk) (*Repository, error) {
	r, err := newRepository(cfg, d)
	if err != nil {
		return nil, err
	}
	if err := r.begin(); err != nil {
		return nil, err
	}
	r.root, r.first, err = r.firstRoot(keys)
	if err != nil {
		return nil, err
	}
	if err := r.PublishTargets(targets, keys.Targets, keys.Online); err != nil {
		return nil, err
	}
	if err := r.writeFirst(); err != nil {
		return nil, err
	}
	return r, nil
}

// begin makes the directory, which must not hold a root.
func (r *Repository) begin() error {
	if err := makeDirs(r.dir); err != nil {
		return err
	}
	version, err := newest(r.dir, metadata.ROOT)
	if err != nil {
		return err
	}
	if version > 0 {
		return fmt.Errorf("create repository in %s: %w", r.dir, ErrExists)
	}
	// An earlier attempt may have left a timestamp; its version is used up.
	_, r.signed, err = r.readTimestamp(nextFile)
	return err
}

// writeFirst publishes the first root, and thereby all the rest.
func (r *Repository) writeFirst() error {
	if err := r.noteRoot(1); err != nil {
		return err
	}
	return r.create(versioned(1, metadata.ROOT), r.first)
}

func makeDirs(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, targetsDir), 0o755); err != nil { //nolint:gosec // all of it is served to the public
		return fmt.Errorf("create repository: %w", err)
	}
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := durable.SyncDir(d); err != nil {
			return fmt.Errorf("create repository: %w", err)
		}
	}
	return nil
}

func (r *Repository) firstRoot(keys Keys) (*metadata.Metadata[metadata.RootType], []byte, error) {
	root := metadata.Root(r.expiry(r.lifetimes.Root))
	for _, k := range []struct {
		role   string
		signer crypto.Signer
	}{
		{metadata.ROOT, keys.Root},
		{metadata.TARGETS, keys.Targets},
		{metadata.SNAPSHOT, keys.Snapshot},
		{metadata.TIMESTAMP, keys.Timestamp},
	} {
		key, err := tufKey(k.signer)
		if err != nil {
			return nil, nil, fmt.Errorf("%s key: %w", k.role, err)
		}
		if err := root.Signed.AddKey(key, k.role); err != nil {
			return nil, nil, fmt.Errorf("%s key: %w", k.role, err)
		}
	}
	data, err := seal(metadata.ROOT, root, root, keys.Root)
	return root, data, err
}
