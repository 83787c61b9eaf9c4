package signing

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"sigstack/internal/trust"
)

// AsOf says what a TUF repository published at a moment in the past. Old versions of
// root, targets and snapshot stay in a repository; which of them clients saw when is
// its record's to tell, and old timestamps are nowhere.
type AsOf struct {
	Dir string    // of the repository, or of a copy of what it serves
	At  time.Time // the moment
	// Root and Targets are the versions of then, and Published since when clients saw
	// them; zero: nobody recorded that.
	Root, Targets int64
	Published     time.Time
	// SnapshotLife and TimestampLife are how long these are signed for: with their
	// expiry that tells when they were.
	SnapshotLife, TimestampLife time.Duration
}

// PastRole is a role's metadata as a client had it then.
type PastRole struct {
	Role    string    `json:"role"`
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`
	Expired bool      `json:"expired"`
}

// States of keys and chains at a moment.
const (
	PastValid  = "valid"
	PastFuture = "not yet"
	PastEnded  = "ended"
)

// PastKey is a key or chain that the trusted root of then had.
type PastKey struct {
	Kind  string    `json:"kind"` // ca, log, tsa or ctlog
	Name  string    `json:"name"` // subject of the first certificate, or URL of the log
	ID    string    `json:"id"`   // SHA-256 of its SubjectPublicKeyInfo, hex
	Start time.Time `json:"start"`
	End   time.Time `json:"end,omitzero"`
	State string    `json:"state"` // at the moment
}

// PastClient is what a client that asked at a moment was told.
type PastClient struct {
	At        time.Time  `json:"as_of"`
	Published time.Time  `json:"published,omitzero"`
	Roles     []PastRole `json:"roles"`
	Keys      []PastKey  `json:"keys"`
	// Refused says why the client did not even take the trusted root; "": it did.
	Refused string `json:"refused,omitempty"`
	// Notes say what could not be judged.
	Notes []string `json:"notes,omitempty"`

	Trusted *TrustRoot `json:"-"`
}

// Load reads and verifies the metadata of then, from root 1 on. What had expired is no
// error: it is told, with the trusted root that was there.
func (a AsOf) Load() (*PastClient, error) {
	trusted, err := a.root()
	if err != nil {
		return nil, fmt.Errorf("read TUF repository %s: %w", a.Dir, err)
	}
	targets := metadata.Targets()
	if err := a.read(a.Targets, metadata.TARGETS, func(data []byte) (err error) {
		if targets, err = targets.FromBytes(data); err != nil {
			return err
		}
		return trusted.Root.VerifyDelegate(metadata.TARGETS, targets)
	}); err != nil {
		return nil, fmt.Errorf("read TUF repository %s: %w", a.Dir, err)
	}
	c := &PastClient{At: a.At, Published: a.Published}
	c.role(metadata.ROOT, trusted.Root.Signed.Version, trusted.Root.Signed.Expires)
	c.role(metadata.TARGETS, targets.Signed.Version, targets.Signed.Expires)
	if a.Published.IsZero() {
		c.Notes = append(c.Notes, "nobody recorded when these versions were published: the client may have had older ones")
	}
	if err := a.online(c); err != nil {
		return nil, fmt.Errorf("read TUF repository %s: %w", a.Dir, err)
	}
	return c, a.trustedRoot(c, targets.Signed.Targets[trust.TrustedRootName])
}

// role notes one, and whether it had expired.
func (c *PastClient) role(name string, version int64, expires time.Time) {
	r := PastRole{Role: name, Version: version, Expires: expires, Expired: !c.At.Before(expires)}
	if r.Expired && c.Refused == "" {
		c.Refused = fmt.Sprintf("TUF %s %d had expired at %s", name, version, expires.Format(time.RFC3339))
	}
	c.Roles = append(c.Roles, r)
}

// root follows the chain of roots to the one of then.
func (a AsOf) root() (trusted *trustedmetadata.TrustedMetadata, err error) {
	err = a.read(1, metadata.ROOT, func(data []byte) (err error) {
		trusted, err = trustedmetadata.New(data)
		return err
	})
	for v := int64(2); v <= a.Root && err == nil; v++ {
		err = a.read(v, metadata.ROOT, func(data []byte) error {
			_, err := trusted.UpdateRoot(data)
			return err
		})
	}
	return trusted, err
}

// read hands the file of a version to check.
func (a AsOf) read(version int64, role string, check func([]byte) error) error {
	name := strconv.FormatInt(version, 10) + "." + role + ".json"
	data, err := os.ReadFile(filepath.Join(a.Dir, name))
	if err == nil {
		err = check(data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// online finds the snapshot of then, and judges the timestamp if it is the one that is
// still there.
func (a AsOf) online(c *PastClient) error {
	snapshots, err := a.snapshots()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(snapshots, func(s *metadata.Metadata[metadata.SnapshotType]) bool {
		return !a.At.Before(s.Signed.Expires.Add(-a.SnapshotLife).Truncate(time.Second))
	})
	if i < 0 {
		c.Notes = append(c.Notes, "no snapshot of that time is there: whether the client's had expired is not judged")
	} else {
		c.role(metadata.SNAPSHOT, snapshots[i].Signed.Version, snapshots[i].Signed.Expires)
	}
	data, err := os.ReadFile(filepath.Join(a.Dir, "timestamp.json"))
	if err != nil {
		return err
	}
	timestamp, err := metadata.Timestamp().FromBytes(data)
	if err != nil {
		return fmt.Errorf("timestamp.json: %w", err)
	}
	if a.At.Before(timestamp.Signed.Expires.Add(-a.TimestampLife).Truncate(time.Second)) {
		c.Notes = append(c.Notes, "the timestamp of that time is not kept by any repository: whether it had expired is not judged")
		return nil
	}
	c.role(metadata.TIMESTAMP, timestamp.Signed.Version, timestamp.Signed.Expires)
	return nil
}

// snapshots are those that lead to the targets of then, the newest first.
func (a AsOf) snapshots() (out []*metadata.Metadata[metadata.SnapshotType], err error) {
	files, err := filepath.Glob(filepath.Join(a.Dir, "*.snapshot.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		s, err := metadata.Snapshot().FromBytes(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
		if m := s.Signed.Meta["targets.json"]; m != nil && m.Version == a.Targets {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(x, y *metadata.Metadata[metadata.SnapshotType]) int {
		return int(y.Signed.Version - x.Signed.Version)
	})
	return out, nil
}

// trustedRoot reads the target of then.
func (a AsOf) trustedRoot(c *PastClient, file *metadata.TargetFiles) error {
	if file == nil {
		return fmt.Errorf("targets %d have no %s", a.Targets, trust.TrustedRootName)
	}
	name := hex.EncodeToString(file.Hashes["sha256"]) + "." + trust.TrustedRootName
	data, err := os.ReadFile(filepath.Join(a.Dir, "targets", name))
	if err == nil {
		err = file.VerifyLengthHashes(data)
	}
	if err == nil && len(file.Hashes["sha256"]) == 0 {
		err = errors.New("it has no SHA-256")
	}
	if err != nil {
		return fmt.Errorf("read target %s of targets %d: %w", trust.TrustedRootName, a.Targets, err)
	}
	if c.Trusted, err = NewTrustRoot(fmt.Sprintf("%s of targets %d, as of %s", trust.TrustedRootName, a.Targets, a.At.Format(time.RFC3339)), bytes.Clone(data)); err != nil {
		return err
	}
	root, err := trust.ParseTrustedRoot(data)
	if err != nil {
		return err
	}
	c.keys(root)
	return nil
}
