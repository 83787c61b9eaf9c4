package tlog

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/fsck"
	"sigstack/services/tlog/entry"
)

// Derived tells which rows belong to an entry, for who checks them, or makes the
// search index again.
func Derived() *fsck.Service {
	return &fsck.Service{
		What:   rowName,
		Rows:   derivedRows,
		Shared: func(key []byte) bool { return len(key) > 0 && key[0] == rowAttestation },
		Sound:  soundAttestation,
	}
}

// IndexPrefix begins the keys of the search index.
const IndexPrefix = rowSearch

func rowName(key []byte) string {
	switch {
	case len(key) > 0 && key[0] == rowSearch:
		return "search"
	case len(key) > 0 && key[0] == rowAttestation:
		return "attestation"
	default:
		return "row"
	}
}

// derivedRows are the rows that leafWith gives an entry, made of its leaf.
func derivedRows(e merkle.Entry) ([]fsck.Row, error) {
	payload, attested, err := splitExtra(e.Leaf.Extra)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for _, term := range entry.BodyTerms(e.Leaf.Value) {
		keys = append(keys, termKey(term))
	}
	for _, digest := range payload {
		keys = append(keys, append([]byte{rowSearch}, digest...))
	}
	var rows []fsck.Row
	seen := make(map[string]bool, len(keys))
	for _, key := range keys {
		if seen[string(key)] {
			continue // a term of body and payload
		}
		seen[string(key)] = true
		rows = append(rows, fsck.Row{Row: merkle.Row{Key: key, Value: e.LeafHash[:], ByIndex: true}})
	}
	if digest, ok := entry.AttestationDigest(e.Leaf.Value); ok {
		rows = append(rows, fsck.Row{Row: merkle.Row{Key: attestationKey(digest)}, Shared: true, Optional: !attested})
	} else if attested {
		return nil, errors.New("it was logged with an attestation, and is of a kind that has none")
	}
	return rows, nil
}

// splitExtra reads a leaf's extra data: digests of terms, and whether an
// attestation was stored.
func splitExtra(extra []byte) (digests [][]byte, attested bool, err error) {
	if len(extra)%sha256.Size == 1 {
		if extra[len(extra)-1] != withAttestation {
			return nil, false, fmt.Errorf("extra data ends in %#x", extra[len(extra)-1])
		}
		attested, extra = true, extra[:len(extra)-1]
	}
	if len(extra)%sha256.Size != 0 {
		return nil, false, fmt.Errorf("extra data has %d bytes", len(extra))
	}
	for digest := range slices.Chunk(extra, sha256.Size) {
		digests = append(digests, digest)
	}
	return digests, attested, nil
}

func soundAttestation(key, value []byte) error {
	digest := sha256.Sum256(value)
	if string(attestationKey(digest)) != string(key) {
		return fmt.Errorf("it has the digest %x, which is not that in its key", digest)
	}
	return nil
}
