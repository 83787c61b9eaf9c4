package check

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/rfc6962"
)

// LogV2 verifies what a Rekor v2 log says. It is safe for concurrent use.
type LogV2 struct{ notes noteKey }

// NewLogV2 knows a log by its origin, which is its host name, and its key: ECDSA
// or Ed25519.
func NewLogV2(origin string, key crypto.PublicKey) (*LogV2, error) {
	l := &LogV2{notes: noteKey{origin: origin, name: origin, key: key}}
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		var err error
		if l.notes.id, err = keyID(key); err != nil {
			return nil, err
		}
	case ed25519.PublicKey:
		// The key ID of C2SP signed-note: the name, the algorithm, the key.
		l.notes.id = sha256.Sum256(slices.Concat([]byte(origin), []byte{'\n', 1}, key))
	default:
		return nil, fmt.Errorf("the key of log %s is %T, want ECDSA or Ed25519", origin, key)
	}
	return l, nil
}

// entryV2 is a TransparencyLogEntry in JSON.
type entryV2 struct {
	LogIndex json.Number `json:"logIndex"`
	LogID    struct {
		KeyID []byte `json:"keyId"`
	} `json:"logId"`
	KindVersion struct {
		Kind    string `json:"kind"`
		Version string `json:"version"`
	} `json:"kindVersion"`
	Proof struct {
		LogIndex   json.Number `json:"logIndex"`
		RootHash   []byte      `json:"rootHash"`
		TreeSize   json.Number `json:"treeSize"`
		Hashes     [][]byte    `json:"hashes"`
		Checkpoint struct {
			Envelope string `json:"envelope"`
		} `json:"checkpoint"`
	} `json:"inclusionProof"`
	Body []byte `json:"canonicalizedBody"`
}

// Entry verifies an answer to a hashedrekord 0.0.2 whose canonical body is want.
func (l *LogV2) Entry(answer, want []byte) error {
	var w entryV2
	if err := json.Unmarshal(answer, &w); err != nil {
		return Wrong(Malformed, "%w in %.200q", err, answer)
	}
	index, err1 := w.LogIndex.Int64()
	local, err2 := w.Proof.LogIndex.Int64()
	size, err3 := w.Proof.TreeSize.Int64()
	switch {
	case err1 != nil || err2 != nil || err3 != nil || index < 0 || size < 0:
		return Wrong(Malformed, "index %q, %q in the proof, of %q entries", w.LogIndex, w.Proof.LogIndex, w.Proof.TreeSize)
	case !bytes.Equal(w.Body, want):
		return Wrong(Body, "got %.300q, want %.300q", w.Body, want)
	case w.KindVersion.Kind != "hashedrekord" || w.KindVersion.Version != "0.0.2":
		return Wrong(Version, "%.50s %.50s, want hashedrekord 0.0.2", w.KindVersion.Kind, w.KindVersion.Version)
	case !bytes.Equal(w.LogID.KeyID, l.notes.id[:]):
		return Wrong(LogID, "got %x, want %x", w.LogID.KeyID, l.notes.id)
	case index != local:
		return Wrong(Index, "%d, but %d in the proof", index, local)
	}
	h, err := l.notes.verify(w.Proof.Checkpoint.Envelope)
	if err != nil {
		return err
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(w.Body)
	return included(h, uint64(index), uint64(size), leaf, w.Proof.Hashes, w.Proof.RootHash)
}
