package tufroot

import (
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sigstack/internal/trust"
)

// Files are written in the order in which they come to depend on each other, and
// each is durable before the next: targets, N.targets.json, N.snapshot.json, the
// timestamp counter, timestamp.json. Until the last is replaced clients see the
// old set, whose files stay where they are; a crash before it leaves files that
// nothing refers to and whose versions are not used again.

// PublishTargets makes targets the whole list of targets: a new version of the
// targets role, of the snapshot and of the timestamp. On error clients see the
// old set or, if only the last sync failed, the new one.
func (r *Repository) PublishTargets(targets []trust.Target, targetsKey crypto.Signer, online Online) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	files, err := r.writeTargets(targets)
	if err != nil {
		return err
	}
	version, err := newest(r.dir, metadata.TARGETS)
	if err != nil {
		return err
	}
	role := metadata.Targets(r.expiry(r.lifetimes.Targets))
	role.Signed.Version = version + 1
	role.Signed.Targets = files
	data, err := seal(metadata.TARGETS, role, r.root, targetsKey)
	if err != nil {
		return err
	}
	if err := r.create(versioned(role.Signed.Version, metadata.TARGETS), data); err != nil {
		return err
	}
	snapshot, snapshotData, err := r.writeSnapshot(metaFile(role.Signed.Version, data), online)
	if err != nil {
		return err
	}
	if err := r.writeTimestamp(metaFile(snapshot.Signed.Version, snapshotData), online); err != nil {
		return err
	}
	r.targets, r.snapshot = role, snapshot
	return nil
}

// Refresh signs the snapshot and the timestamp again when a third of their life
// has passed, and reports whether it did.
func (r *Repository) Refresh(online Online) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	snapshotDue, timestampDue := r.due()
	now := r.now()
	if now.Before(snapshotDue) {
		if now.Before(timestampDue) {
			return false, nil
		}
		return true, r.writeTimestamp(r.timestamp.Signed.Meta["snapshot.json"], online)
	}
	snapshot, data, err := r.writeSnapshot(r.snapshot.Signed.Meta["targets.json"], online)
	if err != nil {
		return false, err
	}
	if err := r.writeTimestamp(metaFile(snapshot.Signed.Version, data), online); err != nil {
		return false, err
	}
	r.snapshot = snapshot
	return true, nil
}

// RenewRoot publishes the next version of the root, the same but for its
// expiry. Clients find it by its number.
func (r *Repository) RenewRoot(rootKey crypto.Signer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := metadata.Root(r.expiry(r.lifetimes.Root))
	next.Signed.Version = r.root.Signed.Version + 1
	next.Signed.Keys = r.root.Signed.Keys
	next.Signed.Roles = r.root.Signed.Roles
	data, err := seal(metadata.ROOT, next, r.root, rootKey)
	if err != nil {
		return err
	}
	if err := r.create(versioned(next.Signed.Version, metadata.ROOT), data); err != nil {
		return err
	}
	r.root = next
	return nil
}

// writeTargets stores the files. They are named by their hash, so those of an
// earlier attempt are simply written again.
func (r *Repository) writeTargets(targets []trust.Target) (map[string]*metadata.TargetFiles, error) {
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
			custom := json.RawMessage(t.Custom)
			file.Custom = &custom
		}
		files[t.Name] = file
	}
	for _, t := range targets {
		if err := r.replace(targetPath(t.Name, files[t.Name]), t.Data); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func (r *Repository) writeSnapshot(targets *metadata.MetaFiles, online Online) (*metadata.Metadata[metadata.SnapshotType], []byte, error) {
	version, err := newest(r.dir, metadata.SNAPSHOT)
	if err != nil {
		return nil, nil, err
	}
	role := metadata.Snapshot(r.expiry(r.lifetimes.Snapshot))
	role.Signed.Version = version + 1
	role.Signed.Meta["targets.json"] = targets
	data, err := seal(metadata.SNAPSHOT, role, r.root, online.Snapshot)
	if err != nil {
		return nil, nil, err
	}
	return role, data, r.create(versioned(role.Signed.Version, metadata.SNAPSHOT), data)
}

// writeTimestamp reserves its version first: should a power cut undo the rename
// of timestamp.json that some client has seen, the next one is still newer.
func (r *Repository) writeTimestamp(snapshot *metadata.MetaFiles, online Online) error {
	version, err := counted(r.dir)
	if err != nil {
		return err
	}
	if r.timestamp != nil {
		version = max(version, r.timestamp.Signed.Version)
	}
	role := metadata.Timestamp(r.expiry(r.lifetimes.Timestamp))
	role.Signed.Version = version + 1
	role.Signed.Meta["snapshot.json"] = snapshot
	data, err := seal(metadata.TIMESTAMP, role, r.root, online.Timestamp)
	if err != nil {
		return err
	}
	if err := r.replace(counterFile, []byte(strconv.FormatInt(role.Signed.Version, 10)+"\n")); err != nil {
		return err
	}
	if err := r.replace(timestampFile, data); err != nil {
		return err
	}
	r.timestamp = role
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
