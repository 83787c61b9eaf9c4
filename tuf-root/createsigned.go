package tufroot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sigstack/internal/trust"
)

// CreateSigned publishes a first root and first targets that were signed elsewhere:
// the drafts of FirstRoot and FirstTargets with the signatures that the root asks
// for. The error matches ErrExists when the directory holds a root, and ErrStale
// when the signed targets are others than targets; then nothing is touched.
func CreateSigned(cfg Config, root, targetsRole []byte, targets []trust.Target, online Online) (*Repository, error) {
	return createSigned(cfg, root, targetsRole, targets, online, durableDisk())
}

// createSigned writes the root last, as create does, and so can run again after a
// crash.
func createSigned(cfg Config, root, targetsRole []byte, targets []trust.Target, online Online, d disk) (*Repository, error) {
	r, err := newRepository(cfg, d)
	if err != nil {
		return nil, err
	}
	if r.root, err = r.checkFirstRoot(root); err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	role, err := r.checkFirstTargets(targetsRole, targets)
	if err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	if err := r.CheckOnline(online); err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	if err := r.begin(); err != nil {
		return nil, err
	}
	r.first = root
	if _, err := r.writeTargets(targets); err != nil {
		return nil, err
	}
	err = r.publishTargets(role, targetsRole, online)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: an attempt with other signatures has left it in %s, which no client has seen; remove that directory and go on", err, r.dir)
	}
	if err != nil {
		return nil, err
	}
	return r, r.writeFirst()
}

func (r *Repository) checkFirstRoot(data []byte) (*metadata.Metadata[metadata.RootType], error) {
	root, err := readRoot(data)
	switch {
	case err != nil:
		return nil, err
	case root.Signed.Version != 1:
		return nil, fmt.Errorf("the first root has version %d, not 1", root.Signed.Version)
	case !root.Signed.Expires.After(r.now()):
		return nil, fmt.Errorf("the root expired at %s", root.Signed.Expires.Format(time.RFC3339))
	}
	if err := root.VerifyDelegate(metadata.ROOT, root); err != nil {
		return nil, fmt.Errorf("the root keys have not signed the root as often as they must: %w", err)
	}
	return root, nil
}

func (r *Repository) checkFirstTargets(data []byte, targets []trust.Target) (*metadata.Metadata[metadata.TargetsType], error) {
	role, err := readTargets(data)
	switch {
	case err != nil:
		return nil, err
	case role.Signed.Version != 1:
		return nil, fmt.Errorf("the first targets have version %d, not 1", role.Signed.Version)
	case !role.Signed.Expires.After(r.now()):
		return nil, fmt.Errorf("the targets expired at %s", role.Signed.Expires.Format(time.RFC3339))
	}
	if err := r.root.VerifyDelegate(metadata.TARGETS, role); err != nil {
		return nil, fmt.Errorf("the targets keys have not signed the targets as often as they must: %w", err)
	}
	files, err := describe(targets)
	if err != nil {
		return nil, err
	}
	if !maps.EqualFunc(files, role.Signed.Targets, sameFile) {
		return nil, fmt.Errorf("the targets are others than were signed: %w", ErrStale)
	}
	return role, nil
}

// createAgain is create, but finds the file of an earlier attempt.
func (r *Repository) createAgain(name string, data []byte) error {
	err := r.create(name, data)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	found, readErr := r.read(name)
	if readErr != nil {
		return readErr
	}
	if !bytes.Equal(found, data) {
		return err
	}
	return nil
}
