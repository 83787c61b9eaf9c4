package tufroot

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sigstack/internal/trust"
)

// ErrStale is matched by the error of PublishSigned for a draft that others have
// overtaken, or of targets that are others by now.
var ErrStale = errors.New("the draft is not of what is to be published next")

// DraftTargets makes what PublishTargets would publish, without the signature of
// the targets role: for a process that has no targets key. The files of the
// targets are on disk then, and nothing refers to them.
func (r *Repository) DraftTargets(targets []trust.Target) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	role, err := r.nextTargets(targets)
	if err != nil {
		return nil, err
	}
	return encode(metadata.TARGETS, role)
}

// nextTargets is the next version of the targets role, whose files it stores. It
// needs mu.
func (r *Repository) nextTargets(targets []trust.Target) (*metadata.Metadata[metadata.TargetsType], error) {
	files, err := r.writeTargets(targets)
	if err != nil {
		return nil, err
	}
	version, err := newest(r.dir, metadata.TARGETS)
	if err != nil {
		return nil, err
	}
	role := metadata.Targets(r.expiry(r.lifetimes.Targets))
	role.Signed.Version = version + 1
	role.Signed.Targets = files
	return role, nil
}

// SignTargets is SignRole for a draft of targets, and of nothing else.
func SignTargets(draft []byte, key crypto.Signer) ([]byte, error) {
	if _, err := readTargets(draft); err != nil {
		return nil, fmt.Errorf("sign targets: %w", err)
	}
	return SignRole(draft, key)
}

// PublishSigned publishes a draft of targets with the signatures that the root asks
// for, as PublishTargets would. The error matches ErrStale if the draft is not of the
// next version, or of other targets: what follows relies on these being out. After a
// crash the same draft can be published again, until it is out.
func (r *Repository) PublishSigned(signed []byte, targets []trust.Target, online Online) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.finish(); err != nil {
		return err
	}
	role, data, err := r.checkSigned(signed, targets)
	if err != nil {
		return err
	}
	return r.publishTargets(role, data, online)
}

// CheckSigned returns the error that PublishSigned would, for whoever has more to do
// before. It changes nothing.
func (r *Repository) CheckSigned(signed []byte, targets []trust.Target) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _, err := r.checkSigned(signed, targets)
	return err
}

// checkSigned reads what may be published next, and returns it with the bytes of its
// file. It needs mu.
func (r *Repository) checkSigned(signed []byte, targets []trust.Target) (*metadata.Metadata[metadata.TargetsType], []byte, error) {
	role, err := readTargets(signed)
	if err != nil {
		return nil, nil, fmt.Errorf("read signed targets: %w", err)
	}
	if err := r.root.VerifyDelegate(metadata.TARGETS, role); err != nil {
		return nil, nil, fmt.Errorf("publish targets: they are not signed with the root's targets key, or with too few of them: %w", err)
	}
	data, err := r.nextFileOf(role, signed)
	if err != nil {
		return nil, nil, err
	}
	if !role.Signed.Expires.After(r.now()) {
		return nil, nil, fmt.Errorf("publish targets: they expired at %s", role.Signed.Expires.Format(time.RFC3339))
	}
	if err := r.checkFiles(role.Signed.Targets); err != nil {
		return nil, nil, fmt.Errorf("publish targets: %w", err)
	}
	files, err := describe(targets)
	if err != nil {
		return nil, nil, err
	}
	if !maps.EqualFunc(files, role.Signed.Targets, sameFile) {
		return nil, nil, fmt.Errorf("publish targets: they are others than were to be signed: %w", ErrStale)
	}
	return role, data, nil
}

// nextFileOf demands the next version, whose file is signed; or the newest one, if a
// crash has left its file and no snapshot names it. A version never gets another
// content, so then it is that file, even if its signatures are others.
func (r *Repository) nextFileOf(role *metadata.Metadata[metadata.TargetsType], signed []byte) ([]byte, error) {
	version, err := newest(r.dir, metadata.TARGETS)
	if err != nil {
		return nil, err
	}
	if role.Signed.Version == version+1 {
		return signed, nil
	}
	stale := fmt.Errorf("publish targets version %d, the newest being %d: %w", role.Signed.Version, version, ErrStale)
	if role.Signed.Version != version || version <= r.targets.Signed.Version {
		return nil, stale
	}
	data, err := r.read(versioned(version, metadata.TARGETS))
	if err != nil {
		return nil, err
	}
	left, err := readTargets(data)
	if err != nil {
		return nil, err
	}
	same, err := sameSigned(left, role)
	switch {
	case err != nil:
		return nil, err
	case !same || r.root.VerifyDelegate(metadata.TARGETS, left) != nil:
		return nil, stale
	}
	return data, nil
}

func sameFile(a, b *metadata.TargetFiles) bool {
	return a.Length == b.Length && bytes.Equal(a.Hashes["sha256"], b.Hashes["sha256"])
}

// publishTargets makes role, encoded as data, the current one. It needs mu.
func (r *Repository) publishTargets(role *metadata.Metadata[metadata.TargetsType], data []byte, online Online) error {
	if err := r.createAgain(versioned(role.Signed.Version, metadata.TARGETS), data); err != nil {
		return err
	}
	return r.writeOnline(metaFile(role.Signed.Version, data), online, func() { r.targets = role })
}

// Distributed returns when what is published at a moment has reached every client
// that asks: until then one may hold an older timestamp that is still valid. It is
// reckoned by the longest life of a timestamp so far.
func (r *Repository) Distributed(published time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := published.Add(r.lifetimes.Timestamp)
	for _, end := range []time.Time{r.published.Expires, r.record.Until} {
		if end.After(at) {
			at = end
		}
	}
	return at
}
