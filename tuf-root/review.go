package tufroot

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Change is what a draft of targets would change, as its signer sees it.
type Change struct {
	Version int64 // of the draft, the one after the newest
	Expires time.Time
	// Before and After are the targets that differ, by name: what was signed last,
	// and what the draft has. One that is added or removed is in one of them.
	Before, After map[string]ReviewedTarget
}

// ReviewedTarget is a target's content, which has the signed digest, and its
// custom metadata, nil without.
type ReviewedTarget struct{ Data, Custom []byte }

// Review compares a draft with the newest targets in the repository at dir, which
// one of signers must have signed: so keys that sign drafts of a process that they
// need not believe can be shown what they sign. Nothing is taken on the process's
// word but which version is the newest.
func Review(dir string, draft []byte, signers ...crypto.Signer) (Change, error) {
	after, err := readTargets(draft)
	if err != nil {
		return Change{}, fmt.Errorf("read draft of targets: %w", err)
	}
	before, err := newestSigned(dir, signers)
	if err != nil {
		return Change{}, err
	}
	if after.Signed.Version != before.Signed.Version+1 {
		return Change{}, fmt.Errorf("review targets: the draft is version %d, the newest that this key signed is %d: %w",
			after.Signed.Version, before.Signed.Version, ErrStale)
	}
	c := Change{Version: after.Signed.Version, Expires: after.Signed.Expires, Before: map[string]ReviewedTarget{}, After: map[string]ReviewedTarget{}}
	if err := differing(dir, before.Signed.Targets, after.Signed.Targets, c.Before); err != nil {
		return Change{}, err
	}
	return c, differing(dir, after.Signed.Targets, before.Signed.Targets, c.After)
}

// newestSigned reads the newest targets, which one of signers must have signed.
func newestSigned(dir string, signers []crypto.Signer) (*metadata.Metadata[metadata.TargetsType], error) {
	version, err := newest(dir, metadata.TARGETS)
	if err != nil {
		return nil, err
	}
	name := versioned(version, metadata.TARGETS)
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("review targets: %w", err)
	}
	role, err := readTargets(data)
	if err != nil {
		return nil, fmt.Errorf("review targets: %s: %w", name, err)
	}
	if role.Signed.Version != version {
		return nil, fmt.Errorf("review targets: %s is of version %d", name, role.Signed.Version)
	}
	err = errors.New("there is no key that could have signed it")
	for _, signer := range signers {
		if err = signedBy(role, signer); err == nil {
			return role, nil
		}
	}
	return nil, fmt.Errorf("review targets: %s: %w", name, err)
}

// signedBy demands that a key has signed a role.
func signedBy(role *metadata.Metadata[metadata.TargetsType], signer crypto.Signer) error {
	key, err := tufKey(signer)
	if err != nil {
		return err
	}
	root := metadata.Root(time.Time{})
	if err := root.Signed.AddKey(key, metadata.TARGETS); err != nil {
		return err
	}
	if err := root.VerifyDelegate(metadata.TARGETS, role); err != nil {
		return fmt.Errorf("it is not signed with this key: %w", err)
	}
	return nil
}

// differing puts those of files into out that others has not, or has otherwise.
func differing(dir string, files, others map[string]*metadata.TargetFiles, out map[string]ReviewedTarget) error {
	for name, file := range files {
		if other := others[name]; other != nil && sameFile(file, other) && bytes.Equal(custom(file), custom(other)) {
			continue
		}
		if !targetName.MatchString(name) {
			return fmt.Errorf("review target %q: not a plain file name", name)
		}
		data, err := os.ReadFile(filepath.Join(dir, targetPath(name, file)))
		if err != nil {
			return fmt.Errorf("review target %s: %w", name, err)
		}
		if sum := sha256.Sum256(data); !bytes.Equal(sum[:], file.Hashes["sha256"]) || int64(len(data)) != file.Length {
			return fmt.Errorf("review target %s: its file is not the one that the metadata names", name)
		}
		out[name] = ReviewedTarget{data, custom(file)}
	}
	return nil
}

// custom is a file's custom metadata in one spelling, nil without.
func custom(file *metadata.TargetFiles) []byte {
	if file.Custom == nil {
		return nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, *file.Custom); err != nil {
		return *file.Custom
	}
	return compact.Bytes()
}
