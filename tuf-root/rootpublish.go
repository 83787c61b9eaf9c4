package tufroot

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// PublishRoot publishes a draft of DraftRoot, or of a ceremony, that the thresholds
// of the current root and of its own have signed. Clients find it by its number. It
// is refused unless the published targets, snapshot and timestamp verify under it
// too: so whoever changes their keys first publishes these with the new ones
// (Online.AlsoSnapshot, Resign). The error matches ErrStale if it is not of the next
// version. To publish what is the current root already does nothing.
func (r *Repository) PublishRoot(signed []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.publishRoot(signed)
}

// RenewRoot publishes the next version of the root, the same but for its expiry,
// with the signature of one key.
func (r *Repository) RenewRoot(rootKey crypto.Signer) error {
	draft, err := r.DraftRoot(RootChange{})
	if err != nil {
		return err
	}
	signed, err := SignRole(draft, rootKey)
	if err != nil {
		return err
	}
	return r.PublishRoot(signed)
}

func (r *Repository) publishRoot(signed []byte) error {
	if err := r.finish(); err != nil {
		return err
	}
	// An attempt that failed may have left its file, which clients then follow.
	if _, err := r.loadRoots(); err != nil {
		return err
	}
	next, err := readRoot(signed)
	if err != nil {
		return fmt.Errorf("publish root: %w", err)
	}
	current := r.root.Signed.Version
	switch same, err := sameSigned(next, r.root); {
	case err != nil:
		return err
	case same:
		return nil
	case next.Signed.Version != current+1:
		return fmt.Errorf("publish root version %d, the newest being %d: %w", next.Signed.Version, current, ErrStale)
	case !next.Signed.Expires.After(r.now()):
		return fmt.Errorf("publish root: it expired at %s; draft it anew", next.Signed.Expires.Format(time.RFC3339))
	}
	if err := r.accepts(next); err != nil {
		return fmt.Errorf("publish root version %d: %w", next.Signed.Version, err)
	}
	if err := r.noteRoot(next.Signed.Version); err != nil {
		return err
	}
	if err := r.create(versioned(next.Signed.Version, metadata.ROOT), signed); err != nil {
		return err
	}
	r.root = next
	return nil
}

// accepts says why clients of the current root would not follow to next, or not find
// valid metadata there. It needs mu.
func (r *Repository) accepts(next *metadata.Metadata[metadata.RootType]) error {
	if err := r.root.VerifyDelegate(metadata.ROOT, next); err != nil {
		return fmt.Errorf("the root keys of version %d have not signed it as often as they must: %w", r.root.Signed.Version, err)
	}
	if err := next.VerifyDelegate(metadata.ROOT, next); err != nil {
		return fmt.Errorf("its own root keys have not signed it as often as they must: %w", err)
	}
	for _, role := range []struct {
		name string
		err  error
	}{
		{metadata.TARGETS, next.VerifyDelegate(metadata.TARGETS, r.targets)},
		{metadata.SNAPSHOT, next.VerifyDelegate(metadata.SNAPSHOT, r.snapshot)},
		{metadata.TIMESTAMP, next.VerifyDelegate(metadata.TIMESTAMP, r.timestamp)},
	} {
		if role.err != nil {
			return fmt.Errorf("the published %s does not verify under it; publish one first that the old and the new keys have signed: %w", role.name, role.err)
		}
	}
	return nil
}

// noNulls refuses JSON with a null in it: metadata has none, and the library takes
// some of them for objects.
func noNulls(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	for {
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case token == nil:
			return errors.New("there is a null in it")
		}
	}
}

// readRoot reads and checks an outsider's root.
func readRoot(data []byte) (*metadata.Metadata[metadata.RootType], error) {
	if err := noNulls(data); err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	root, err := metadata.Root(time.Time{}).FromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	return root, checkRoot(root)
}

// readTargets reads and checks an outsider's targets.
func readTargets(data []byte) (*metadata.Metadata[metadata.TargetsType], error) {
	if err := noNulls(data); err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	role, err := metadata.Targets(time.Time{}).FromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	s := role.Signed
	switch {
	case s.SpecVersion != metadata.SPECIFICATION_VERSION:
		return nil, fmt.Errorf("the targets are of TUF specification %q, not %s", s.SpecVersion, metadata.SPECIFICATION_VERSION)
	case s.Version < 1:
		return nil, fmt.Errorf("the targets have version %d", s.Version)
	case s.Delegations != nil || len(role.UnrecognizedFields)+len(s.UnrecognizedFields) > 0:
		return nil, errors.New("there is more in it than targets")
	}
	for name, file := range s.Targets {
		if !targetName.MatchString(name) {
			return nil, fmt.Errorf("target %q: not a plain file name", name)
		}
		if file == nil || len(file.Hashes) != 1 || len(file.Hashes["sha256"]) != 32 ||
			file.Length < 0 || len(file.UnrecognizedFields) > 0 {
			return nil, fmt.Errorf("target %q: not as this program writes it", name)
		}
	}
	return role, nil
}

// sameSigned reports whether two pieces of metadata differ in signatures alone.
func sameSigned[T metadata.Roles](a, b *metadata.Metadata[T]) (bool, error) {
	left, err := payload(a)
	if err != nil {
		return false, err
	}
	right, err := payload(b)
	return bytes.Equal(left, right), err
}
