package main

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"sigstack/internal/oci"
	"sigstack/internal/release"
	"sigstack/internal/signing"
)

// candidate is an attestation that may be about a file.
type candidate struct {
	place  string // its file, and the line in one that holds several
	digest string // of its text, "sha256:<hex>"
	bundle *signing.Bundle
	err    error // why it cannot be read; then there is no bundle
}

// attested is an attestation that passed, of a file or of an image.
type attested struct {
	Place         string          `json:"place"`                 // its file and line, or reference to the manifest that holds it
	Document      string          `json:"digest_of_attestation"` // "sha256:<hex>"
	artifact      string          // SHA-256 in hex of what it is about, by whichever digest that was matched
	PredicateType string          `json:"predicate_type"`
	Predicate     json.RawMessage `json:"predicate"`
	signing.Result
}

// candidates are the attestations in the file named, or in those where attest puts
// them.
func candidates(file, named string) ([]candidate, error) {
	if named != "" {
		return readCandidates(named)
	}
	var out []candidate
	for _, place := range []string{file + release.AttestationSuffix, file + signing.AttestationsSuffix} {
		if _, err := os.Lstat(place); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		more, err := readCandidates(place)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	if len(out) == 0 {
		return nil, usagef("there is neither %s nor %s: name the attestation with --bundle", file+release.AttestationSuffix, file+signing.AttestationsSuffix)
	}
	return out, nil
}

func readCandidates(place string) ([]candidate, error) {
	if !holdsSeveral(place) {
		data, err := readGiven(place, signing.MaxBundle)
		if err != nil {
			return nil, err
		}
		b, err := signing.ParseBundle(data)
		return []candidate{{place, documentDigest(data), b, err}}, nil
	}
	data, err := readGiven(place, signing.MaxAttestations)
	if err != nil {
		return nil, err
	}
	lines, err := signing.ParseAttestations(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	var out []candidate
	for _, line := range lines {
		out = append(out, candidate{fmt.Sprintf("%s:%d", place, line.Number), documentDigest(line.Text), line.Bundle, line.Err})
	}
	return out, nil
}

// holdsSeveral reports whether a file is one of attestations, by its name.
func holdsSeveral(place string) bool { return strings.HasSuffix(place, ".jsonl") }

func documentDigest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// attestations verifies what is said in files about a file, or about an image that is
// named by its digest, and returns what passed: at least
// one, of one of the types. What is of other types is passed over.
func (c verifier) attestations(artifact, named string, types []string) ([]attested, error) {
	found, err := candidates(artifact, named)
	if err != nil {
		return nil, err
	}
	digests, err := digestsNamed(artifact)
	if err != nil {
		return nil, err
	}
	var passed []attested
	var refused []error
	var others []string
	for _, one := range found {
		if one.bundle != nil {
			if t := one.bundle.ClaimedType(); len(found) > 1 && t != "" && !slices.Contains(types, t) {
				others = append(others, t)
				continue
			}
		}
		got, err := c.attestation(one, digests, types)
		if err != nil {
			refused = append(refused, fmt.Errorf("%s: %w", one.place, err))
			continue
		}
		passed = append(passed, got)
	}
	switch {
	case len(passed) > 0:
		return passed, nil
	case len(found) == 1:
		return nil, errors.Unwrap(refused[0])
	case len(refused) > 0:
		return nil, fmt.Errorf("none of %d attestation(s) of type %s passed: %w", len(refused), strings.Join(types, " or "), errors.Join(refused...))
	}
	return nil, c.refuse(fmt.Errorf("none of %d attestations is of type %s, but of %s", len(found), strings.Join(types, " or "), strings.Join(others, ", ")))
}

// attestation verifies one.
func (c verifier) attestation(one candidate, digests map[string]string, types []string) (attested, error) {
	if one.err != nil {
		return attested{}, one.err
	}
	algorithm := one.bundle.ClaimedAlgorithm(digests)
	digest, err := hex.DecodeString(digests[algorithm])
	if err != nil {
		return attested{}, err
	}
	res, statement, err := signing.VerifyStatement(digest, algorithm, one.bundle, c.trusted, c.id, "")
	if err != nil {
		return attested{}, err
	}
	if err := statement.Contradicts(digests); err != nil {
		return attested{}, err
	}
	if !slices.Contains(types, statement.PredicateType) {
		return attested{}, c.refuse(fmt.Errorf("its predicate type is %q, want %s", statement.PredicateType, strings.Join(types, " or ")))
	}
	return attested{one.place, one.digest, digests["sha256"], statement.PredicateType, statement.Predicate, res}, nil
}

func (c verifier) refuse(err error) error {
	return &signing.RefusedError{Check: signing.CheckStatement, TrustRoot: c.trusted.String(), Err: err}
}

// ofImage are the attestations of an image that passed.
func ofImage(got oci.Verified) []attested {
	var out []attested
	for _, p := range got.Passed {
		out = append(out, attested{p.Stored, p.Layer, strings.TrimPrefix(p.Digest, "sha256:"), p.PredicateType, p.Predicate, p.Result})
	}
	return out
}

// digestsNamed are the digests of a file in hex, or the one in an image's name.
func digestsNamed(artifact string) (map[string]string, error) {
	if !isImage(artifact) {
		return fileDigests(artifact)
	}
	subject, err := imageSubject(artifact)
	return subject.Digest, err
}

// fileDigests returns the digests of a file in hex: sha256, sha384 and sha512.
func fileDigests(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	digests, err := digestsOf(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	return digests, nil
}

// digestsOf reads r once for all of them.
func digestsOf(r io.Reader) (map[string]string, error) {
	sums := map[string]hash.Hash{"sha256": sha256.New(), "sha384": sha512.New384(), "sha512": sha512.New()}
	if _, err := io.Copy(io.MultiWriter(sums["sha256"], sums["sha384"], sums["sha512"]), r); err != nil {
		return nil, err
	}
	digests := map[string]string{}
	for algorithm, h := range sums {
		digests[algorithm] = hex.EncodeToString(h.Sum(nil))
	}
	return digests, nil
}
