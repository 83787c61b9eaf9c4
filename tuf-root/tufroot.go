// Package tufroot owns a TUF repository on disk (specification 1.0.31, consistent
// snapshots): its first signing, new targets, and the online roles' freshness.
// Serving it and deciding when to refresh belongs to services/tuf; what the
// targets say to package trust.
package tufroot

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// ErrExists is matched by the error of Create when the directory holds a root.
var ErrExists = errors.New("a TUF root exists already")

// Lifetimes says how long each role's metadata is valid from its signing; zero
// takes the default.
type Lifetimes struct {
	// Root and Targets default to 5 years. Their keys lie offline and both need
	// a person; what keeps clients from old targets is the snapshot.
	Root, Targets time.Duration
	// Snapshot defaults to 7 days, Timestamp to 1 day. A stack that is down for
	// longer than the latter is refused by clients until it has started again.
	Snapshot, Timestamp time.Duration
}

// leastLife of a role: expiry is in whole seconds, and the thirds of a life still
// have to be told apart.
const leastLife = 3 * time.Second

// withDefaults fills what is zero.
func (l Lifetimes) withDefaults() Lifetimes {
	const day = 24 * time.Hour
	fill := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	fill(&l.Root, 5*365*day)
	fill(&l.Targets, 5*365*day)
	fill(&l.Snapshot, 7*day)
	fill(&l.Timestamp, day)
	return l
}

// Config names a repository.
type Config struct {
	// Dir holds the metadata files and the folder targets.
	Dir       string
	Lifetimes Lifetimes
	Now       func() time.Time
	// Before, if set, is called with each new timestamp.json once all that it refers to
	// is in Dir, and before any client sees it. An error leaves to clients what they
	// had; it is asked again when the publication is carried through.
	Before func(timestamp []byte) error
}

func (c Config) check() error {
	l := c.Lifetimes.withDefaults()
	switch {
	case c.Dir == "":
		return errors.New("tuf repository: no directory")
	case c.Now == nil:
		return errors.New("tuf repository: no clock")
	case min(l.Root, l.Targets, l.Snapshot, l.Timestamp) < leastLife:
		return fmt.Errorf("tuf repository: a lifetime is below %s", leastLife)
	}
	return nil
}

// forDrafts is c with all lifetimes, for work that needs no directory.
func (c Config) forDrafts() (Config, error) {
	c.Dir, c.Lifetimes = ".", c.Lifetimes.withDefaults()
	return c, c.check()
}

// Online are the keys that the running process holds. They may be one key.
type Online struct {
	Snapshot, Timestamp crypto.Signer
	// These sign, too: while a root exchanges the keys, both the old and the new do.
	AlsoSnapshot, AlsoTimestamp []crypto.Signer
}

func (o Online) snapshot() []crypto.Signer {
	return append([]crypto.Signer{o.Snapshot}, o.AlsoSnapshot...)
}

func (o Online) timestamp() []crypto.Signer {
	return append([]crypto.Signer{o.Timestamp}, o.AlsoTimestamp...)
}

// Keys are the keys of all roles, Ed25519 or ECDSA P-256, one each.
type Keys struct {
	Root, Targets crypto.Signer
	Online
}

// Repository is an open repository. Its methods can be called concurrently; two
// repositories on one directory cannot.
type Repository struct {
	dir       string
	lifetimes Lifetimes
	now       func() time.Time
	before    func(timestamp []byte) error // nil: nobody is asked
	disk      disk

	first []byte // 1.root.json; never changes

	// mu guards what follows and every write below dir. The four roles are always
	// a set whose files are all on disk, but for a pending timestamp.
	mu        sync.Mutex
	root      *metadata.Metadata[metadata.RootType]
	targets   *metadata.Metadata[metadata.TargetsType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	timestamp *metadata.Metadata[metadata.TimestampType]
	signed    int64      // highest version of a timestamp ever signed
	pending   []byte     // timestamp whose writing has not succeeded yet
	published RoleStatus // of the timestamp that clients are known to see
	record    record
}

// config is what r was made of, without zeros.
func (r *Repository) config() Config {
	return Config{Dir: r.dir, Lifetimes: r.lifetimes, Now: r.now, Before: r.before}
}

func newRepository(cfg Config, d disk) (*Repository, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Repository{dir: cfg.Dir, lifetimes: cfg.Lifetimes.withDefaults(), now: cfg.Now, before: cfg.Before, disk: d}, nil
}

// Dir returns the repository's directory. Clients may have the files below it
// that Serves names.
func (r *Repository) Dir() string { return r.dir }

// RootJSON returns the repository's first root, with which clients start: they
// follow the chain from there. Its hash never changes.
func (r *Repository) RootJSON() []byte {
	return r.first
}

// RoleStatus is one role of the published set.
type RoleStatus struct {
	Role    string // root, targets, snapshot or timestamp
	Version int64
	Expires time.Time
}

// Status lists root, targets, snapshot and timestamp, in this order. The
// timestamp is the one that clients see, even if a newer one is to replace it.
func (r *Repository) Status() []RoleStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status()
}

func (r *Repository) status() []RoleStatus {
	return []RoleStatus{
		{metadata.ROOT, r.root.Signed.Version, r.root.Signed.Expires},
		{metadata.TARGETS, r.targets.Signed.Version, r.targets.Signed.Expires},
		{metadata.SNAPSHOT, r.snapshot.Signed.Version, r.snapshot.Signed.Expires},
		r.published,
	}
}

// publish notes that timestamp.json holds r.timestamp. It needs mu.
func (r *Repository) publish() {
	r.published = RoleStatus{metadata.TIMESTAMP, r.timestamp.Signed.Version, r.timestamp.Signed.Expires}
}

// NextRefresh returns when a third of the snapshot's or the timestamp's life has
// passed, whichever is first; Refresh does nothing before. It is the zero time
// when an interrupted publication waits for Refresh to carry it through.
func (r *Repository) NextRefresh() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending != nil {
		return time.Time{}
	}
	snapshot, timestamp := r.due()
	if snapshot.Before(timestamp) {
		return snapshot
	}
	return timestamp
}

// due needs mu. The moment of signing is in no file, so it is reckoned back from
// the expiry.
func (r *Repository) due() (snapshot, timestamp time.Time) {
	return due(r.now(), r.snapshot.Signed.Expires, r.lifetimes.Snapshot),
		due(r.now(), r.timestamp.Signed.Expires, r.lifetimes.Timestamp)
}

// due is at once for what was signed for longer than it is to be now.
func due(now, expires time.Time, life time.Duration) time.Time {
	if expires.After(now.Add(life)) {
		return now
	}
	return expires.Add(-life / 3 * 2)
}

// CheckOnline reports whether the root trusts these keys for their roles: as many
// as it asks for.
func (r *Repository) CheckOnline(keys Online) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(
		r.checkKeys(metadata.SNAPSHOT, keys.snapshot()),
		r.checkKeys(metadata.TIMESTAMP, keys.timestamp()))
}

func (r *Repository) checkKeys(role string, signers []crypto.Signer) error {
	known := map[string]bool{}
	for _, signer := range signers {
		key, err := tufKey(signer)
		if err != nil {
			return fmt.Errorf("%s key: %w", role, err)
		}
		id, err := key.ID()
		if err != nil {
			return fmt.Errorf("%s key: %w", role, err)
		}
		if slices.Contains(r.root.Signed.Roles[role].KeyIDs, id) {
			known[id] = true
		}
	}
	switch need := r.root.Signed.Roles[role].Threshold; {
	case len(known) == 0:
		return fmt.Errorf("%s key: not the one of the root", role)
	case len(known) < need:
		return fmt.Errorf("%s keys: the root asks for %d, here are %d of them", role, need, len(known))
	}
	return nil
}
