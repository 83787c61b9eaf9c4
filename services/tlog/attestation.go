package tlog

import (
	"context"
	"crypto/sha256"
	"fmt"

	"sigstack/internal/merkle"
	"sigstack/services/tlog/entry"
)

// An attestation, what an intoto or cose entry was signed over, is a row that is
// committed with its entry (contract: rekor-v1.md §11):
//
//	'a' SHA-256(attestation)32  ->  attestation
//
// Entries of one tree with the same attestation share the row. Its entry tells
// the key (entry.AttestationDigest), so that a row proves itself: its value must
// have that digest. No leaf holds what it takes to make a row again, so that what
// rebuilds the search index must leave these alone. That an entry was logged with
// a row is told by one byte behind the terms in its leaf's extra data; without it
// the entry was logged while attestations were off, too large, or by a version
// that did not note it.
const (
	rowAttestation  = 'a'
	withAttestation = 0x01
)

// leafWith is the leaf of an entry, with its rows.
func (s *Service) leafWith(canonical []byte, terms entry.Terms, attestation []byte) merkle.Leaf {
	leaf := leafOf(canonical, terms)
	if len(attestation) == 0 || len(attestation) > s.cfg.AttestationLimit {
		return leaf
	}
	digest, ok := entry.AttestationDigest(canonical)
	if !ok || digest != sha256.Sum256(attestation) {
		return leaf // not one that could be found again
	}
	leaf.Extra = append(leaf.Extra, withAttestation)
	leaf.Rows = append(leaf.Rows, merkle.Row{Key: attestationKey(digest), Value: attestation})
	return leaf
}

func attestationKey(digest [sha256.Size]byte) []byte {
	return append([]byte{rowAttestation}, digest[:]...)
}

// Attestation returns what is stored beside an entry, nil if nothing is or the
// log is not to keep any.
func (s *Service) Attestation(ctx context.Context, r Record) ([]byte, error) {
	if s.cfg.AttestationLimit == 0 {
		return nil, nil
	}
	digest, ok := entry.AttestationDigest(r.Body)
	if !ok {
		return nil, nil
	}
	for _, sh := range *s.shards.Load() {
		if sh.ID() != r.TreeID {
			continue
		}
		value, err := sh.Row(ctx, attestationKey(digest))
		if err != nil {
			return nil, classify(fmt.Errorf("read attestation of %s: %w", r.EntryID(), err))
		}
		if value != nil && sha256.Sum256(value) != digest {
			return nil, fmt.Errorf("attestation of %s is damaged: its digest is not that in the entry", r.EntryID())
		}
		return value, nil
	}
	return nil, nil
}
