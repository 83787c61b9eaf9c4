package tufroot

import (
	"crypto"
	"crypto/sha256"
	"fmt"
	"path/filepath"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sigstack/internal/trust"
)

// Files are written in the order in which they come to depend on each other, and
// each is durable before the next: targets, N.targets.json, N.snapshot.json, the
// signed timestamp under its private name, the record of publications where it
// changes, timestamp.json. A crash before the
// private name leaves files that nothing refers to and whose versions are not
// used again. From then on the set is decided: whoever opens the repository
// carries it through. Otherwise a power cut could undo the rename of a
// timestamp.json that clients have seen already, and all that was signed after
// it would look to them like a rollback.

// PublishTargets makes targets the whole list of targets: a new version of the
// targets role, of the snapshot and of the timestamp. On error clients see the
// old set; if only the very last writes failed, the next call of PublishTargets
// or Refresh carries the new one through.
func (r *Repository) PublishTargets(targets []trust.Target, targetsKey crypto.Signer, online Online) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.finish(); err != nil {
		return err
	}
	role, err := r.nextTargets(targets)
	if err != nil {
		return err
	}
	data, err := seal(metadata.TARGETS, role, r.root, targetsKey)
	if err != nil {
		return err
	}
	return r.publishTargets(role, data, online)
}

// Refresh signs the snapshot and the timestamp again when a third of their life
// has passed, and reports whether it did.
func (r *Repository) Refresh(online Online) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.finish(); err != nil {
		return false, err
	}
	snapshotDue, timestampDue := r.due()
	now := r.now()
	var err error
	switch {
	case !now.Before(snapshotDue):
		err = r.writeOnline(r.snapshot.Signed.Meta["targets.json"], online, func() {})
	case !now.Before(timestampDue):
		err = r.writeTimestamp(r.timestamp.Signed.Meta["snapshot.json"], online, func() {})
	default:
		return false, nil
	}
	return err == nil, err
}

// Resign signs the snapshot and the timestamp anew, whether they are due or not: so
// that keys which a root is to take into use have signed what is published.
func (r *Repository) Resign(online Online) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.finish(); err != nil {
		return err
	}
	return r.writeOnline(r.snapshot.Signed.Meta["targets.json"], online, func() {})
}

// writeTargets stores the files. They are named by their hash, so those of an
// earlier attempt are simply written again.
func (r *Repository) writeTargets(targets []trust.Target) (map[string]*metadata.TargetFiles, error) {
	files, err := describe(targets)
	if err != nil {
		return nil, err
	}
	for _, t := range targets {
		if err := r.replace(targetPath(t.Name, files[t.Name]), t.Data); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// describe is what the targets role says of targets.
func describe(targets []trust.Target) (map[string]*metadata.TargetFiles, error) {
	files := map[string]*metadata.TargetFiles{}
	for _, t := range targets {
		if !targetName.MatchString(t.Name) {
			return nil, fmt.Errorf("publish target %q: not a plain file name", t.Name)
		}
		if files[t.Name] != nil {
			return nil, fmt.Errorf("publish target %s: listed twice", t.Name)
		}
		sum := sha256.Sum256(t.Data)
		file := &metadata.TargetFiles{Length: int64(len(t.Data)), Hashes: metadata.Hashes{"sha256": sum[:]}, Path: t.Name}
		if t.Custom != nil {
			custom := t.Custom
			file.Custom = &custom
		}
		files[t.Name] = file
	}
	return files, nil
}

// writeOnline publishes a new snapshot, which refers to targets, and a timestamp.
// It calls decided when the set can no longer fail to become the current one.
func (r *Repository) writeOnline(targets *metadata.MetaFiles, online Online, decided func()) error {
	version, err := newest(r.dir, metadata.SNAPSHOT)
	if err != nil {
		return err
	}
	role := metadata.Snapshot(r.expiry(r.lifetimes.Snapshot))
	role.Signed.Version = version + 1
	role.Signed.Meta["targets.json"] = targets
	data, err := seal(metadata.SNAPSHOT, role, r.root, online.snapshot()...)
	if err != nil {
		return err
	}
	if err := r.create(versioned(role.Signed.Version, metadata.SNAPSHOT), data); err != nil {
		return err
	}
	return r.writeTimestamp(metaFile(role.Signed.Version, data), online, func() {
		r.snapshot = role
		decided()
	})
}

func (r *Repository) writeTimestamp(snapshot *metadata.MetaFiles, online Online, decided func()) error {
	role := metadata.Timestamp(r.expiry(r.lifetimes.Timestamp))
	role.Signed.Version = r.signed + 1
	role.Signed.Meta["snapshot.json"] = snapshot
	data, err := seal(metadata.TIMESTAMP, role, r.root, online.timestamp()...)
	if err != nil {
		return err
	}
	r.timestamp, r.signed, r.pending = role, role.Signed.Version, data
	decided()
	return r.finish()
}

// finish carries a decided set through. Even a write that failed may have taken
// place, so what is pending stays so until all have succeeded.
func (r *Repository) finish() error {
	if r.pending == nil {
		return nil
	}
	if err := r.replace(nextFile, r.pending); err != nil {
		return err
	}
	if err := r.noteTimestamp(); err != nil {
		return err
	}
	if r.before != nil {
		if err := r.before(r.pending); err != nil {
			return fmt.Errorf("publish %s: %w", timestampFile, err)
		}
	}
	if err := r.replace(timestampFile, r.pending); err != nil {
		return err
	}
	r.pending = nil
	r.publish()
	return nil
}

func (r *Repository) create(name string, data []byte) error {
	if err := r.disk.create(filepath.Join(r.dir, name), data, 0o644); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	return nil
}

func (r *Repository) replace(name string, data []byte) error {
	if err := r.disk.replace(filepath.Join(r.dir, name), data, 0o644); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	return nil
}
