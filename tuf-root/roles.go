package tufroot

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sigstack/internal/trust"
)

// roleNames are the roles of a root, in the order in which they are shown.
var roleNames = []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP}

// RoleKeys says whose signatures a role needs.
type RoleKeys struct {
	Keys      []crypto.PublicKey // Ed25519 or ECDSA P-256, each once
	Threshold int                // from 1 to the number of keys
}

// RootChange is what a root says of its roles. A role that is nil stays as it is.
type RootChange struct {
	Root, Targets, Snapshot, Timestamp *RoleKeys
	Life                               time.Duration // of the root from now on; 0: the configured one
}

func (c RootChange) of(role string) *RoleKeys {
	switch role {
	case metadata.ROOT:
		return c.Root
	case metadata.TARGETS:
		return c.Targets
	case metadata.SNAPSHOT:
		return c.Snapshot
	}
	return c.Timestamp
}

// RoleKey is a key of a role.
type RoleKey struct {
	ID     string // hex, as the metadata has it
	Public crypto.PublicKey
}

// RoleDescription is a role as the root has it, with its newest metadata.
type RoleDescription struct {
	Role      string // root, targets, snapshot or timestamp
	Version   int64
	Expires   time.Time
	Life      time.Duration // from its publication to its expiry; the configured one where the former is unknown
	Threshold int
	Keys      []RoleKey // in the order of the root
}

// KeyID returns the ID, in hex, by which metadata names a key. The error says why
// a key is none that a role can have.
func KeyID(public crypto.PublicKey) (string, error) {
	key, err := describeKey(public)
	if err != nil {
		return "", err
	}
	return key.ID()
}

// FirstRoot drafts version 1 of a root, which needs the signatures of its own root
// role. All roles must be given. Nothing is written, and cfg.Dir is not used.
func FirstRoot(cfg Config, c RootChange) ([]byte, error) {
	cfg, err := cfg.forDrafts()
	if err != nil {
		return nil, err
	}
	return draftRoot(cfg, c, 1, nil)
}

// FirstTargets drafts version 1 of the targets role. Nothing is written, and
// cfg.Dir is not used.
func FirstTargets(cfg Config, targets []trust.Target) ([]byte, error) {
	cfg, err := cfg.forDrafts()
	if err != nil {
		return nil, err
	}
	files, err := describe(targets)
	if err != nil {
		return nil, err
	}
	role := metadata.Targets(expiry(cfg.Now(), cfg.Lifetimes.Targets))
	role.Signed.Targets = files
	return encode(metadata.TARGETS, role)
}

// DraftRoot drafts the next version of the root, which PublishRoot takes once it
// is signed. Nothing is written.
func (r *Repository) DraftRoot(c RootChange) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// An attempt that failed may have left its file, which clients then follow.
	if _, err := r.loadRoots(); err != nil {
		return nil, err
	}
	return draftRoot(r.config(), c, r.root.Signed.Version+1, &r.root.Signed)
}

func draftRoot(cfg Config, c RootChange, version int64, before *metadata.RootType) ([]byte, error) {
	life := c.Life
	if life == 0 {
		life = cfg.Lifetimes.Root
	}
	if life < leastLife {
		return nil, fmt.Errorf("draft root: a life of %s is too short", life)
	}
	root := metadata.Root(expiry(cfg.Now(), life))
	root.Signed.Version = version
	for _, role := range roleNames {
		if err := setRole(&root.Signed, role, c.of(role), before); err != nil {
			return nil, fmt.Errorf("draft root: %w", err)
		}
	}
	if err := checkRoot(root); err != nil {
		return nil, fmt.Errorf("draft root: %w", err)
	}
	return encode(metadata.ROOT, root)
}

// setRole gives a role of root its keys, or those that it had before.
func setRole(root *metadata.RootType, role string, k *RoleKeys, before *metadata.RootType) error {
	if k == nil {
		if before == nil {
			return fmt.Errorf("no keys for role %s", role)
		}
		old := before.Roles[role]
		root.Roles[role].Threshold = old.Threshold
		for _, id := range old.KeyIDs {
			if err := root.AddKey(before.Keys[id], role); err != nil {
				return fmt.Errorf("keep %s key %s: %w", role, id, err)
			}
		}
		return nil
	}
	for _, public := range k.Keys {
		key, err := describeKey(public)
		if err != nil {
			return fmt.Errorf("%s key: %w", role, err)
		}
		if err := root.AddKey(key, role); err != nil {
			return fmt.Errorf("%s key: %w", role, err)
		}
	}
	if n := len(root.Roles[role].KeyIDs); n != len(k.Keys) {
		return fmt.Errorf("role %s lists a key twice", role)
	}
	root.Roles[role].Threshold = k.Threshold
	return nil
}

// checkRoot demands a root that says what this program writes and no more: four
// roles with thresholds that their keys can reach, and keys under their own IDs.
// Only after it may an outsider's root be used to verify.
func checkRoot(root *metadata.Metadata[metadata.RootType]) error {
	s := root.Signed
	switch {
	case s.SpecVersion != metadata.SPECIFICATION_VERSION:
		return fmt.Errorf("the root is of TUF specification %q, not %s", s.SpecVersion, metadata.SPECIFICATION_VERSION)
	case !s.ConsistentSnapshot:
		return errors.New("the root is without consistent snapshots")
	case s.Version < 1:
		return fmt.Errorf("the root has version %d", s.Version)
	case len(root.UnrecognizedFields)+len(s.UnrecognizedFields) > 0 || len(s.Roles) != len(roleNames):
		return errors.New("the root has more in it than the keys of its four roles")
	}
	used := map[string]bool{}
	for _, name := range roleNames {
		if err := checkRole(s, name, used); err != nil {
			return err
		}
	}
	if len(used) != len(s.Keys) {
		return errors.New("the root lists a key that no role has")
	}
	return nil
}

func checkRole(root metadata.RootType, name string, used map[string]bool) error {
	role := root.Roles[name]
	switch {
	case role == nil || len(role.KeyIDs) == 0:
		return fmt.Errorf("role %s has no keys", name)
	case role.Threshold < 1 || role.Threshold > len(role.KeyIDs):
		return fmt.Errorf("role %s needs %d signatures, but has %d keys", name, role.Threshold, len(role.KeyIDs))
	case len(role.UnrecognizedFields) > 0:
		return fmt.Errorf("role %s has unknown fields", name)
	}
	for i, id := range role.KeyIDs {
		if slices.Contains(role.KeyIDs[:i], id) {
			return fmt.Errorf("role %s lists key %s twice", name, id)
		}
		if err := checkKey(root.Keys[id], id); err != nil {
			return fmt.Errorf("role %s, key %s: %w", name, id, err)
		}
		used[id] = true
	}
	return nil
}

// checkKey demands that a key is described as this program does it, which rules out
// one key under two IDs.
func checkKey(key *metadata.Key, id string) error {
	if key == nil {
		return errors.New("it is not in the root")
	}
	public, err := key.ToPublicKey()
	if err != nil {
		return fmt.Errorf("read key: %w", err)
	}
	ours, err := KeyID(public)
	if err != nil {
		return err
	}
	if theirs, err := key.ID(); err != nil || theirs != ours || ours != id {
		return errors.New("its ID is not the one of its content")
	}
	return nil
}

// Roles lists root, targets, snapshot and timestamp, in this order, as Status does.
func (r *Repository) Roles() []RoleDescription {
	r.mu.Lock()
	defer r.mu.Unlock()
	lives := map[string]time.Duration{
		metadata.ROOT:      r.record.life(r.record.Roots, r.root.Signed.Version, r.root.Signed.Expires, r.lifetimes.Root),
		metadata.TARGETS:   r.record.life(r.record.Targets, r.targets.Signed.Version, r.targets.Signed.Expires, r.lifetimes.Targets),
		metadata.SNAPSHOT:  r.lifetimes.Snapshot,
		metadata.TIMESTAMP: r.lifetimes.Timestamp,
	}
	var out []RoleDescription
	for _, s := range r.status() {
		d := describeRole(&r.root.Signed, s.Role)
		d.Version, d.Expires, d.Life = s.Version, s.Expires, lives[s.Role]
		out = append(out, d)
	}
	return out
}

// describeRole describes what a root says of a role. The root was checked.
func describeRole(root *metadata.RootType, name string) RoleDescription {
	role := root.Roles[name]
	d := RoleDescription{Role: name, Threshold: role.Threshold}
	for _, id := range role.KeyIDs {
		public, err := root.Keys[id].ToPublicKey()
		if err != nil {
			continue // one that this program did not write, and clients cannot use
		}
		d.Keys = append(d.Keys, RoleKey{id, public})
	}
	return d
}
