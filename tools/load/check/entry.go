package check

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Shard is one tree of a Rekor v1 log.
type Shard struct {
	TreeID int64
	First  int64            // global index of its first entry
	Key    *ecdsa.PublicKey // that signs its checkpoints and entry timestamps
}

// LogV1 verifies what a Rekor v1 log says. It is safe for concurrent use.
type LogV1 struct {
	shards map[string]*shardV1 // by tree ID, 16 hex digits
}

type shardV1 struct {
	Shard

	logID string // hex
	notes noteKey
}

// NewLogV1 knows a log by the host name that signs its checkpoints, and by its
// trees; at least one.
func NewLogV1(host string, shards []Shard) (*LogV1, error) {
	if host == "" || len(shards) == 0 {
		return nil, errors.New("know a log: its host name and one tree at least are needed")
	}
	l := &LogV1{shards: make(map[string]*shardV1)}
	for _, s := range shards {
		id, err := keyID(s.Key)
		if err != nil {
			return nil, fmt.Errorf("know tree %d: %w", s.TreeID, err)
		}
		l.shards[fmt.Sprintf("%016x", s.TreeID)] = &shardV1{Shard: s, logID: hex.EncodeToString(id[:]), notes: noteKey{
			origin: fmt.Sprintf("%s - %d", host, s.TreeID), name: host, id: id, key: s.Key, alone: true,
		}}
	}
	return l, nil
}

// Entry is a log entry that was verified.
type Entry struct {
	ID             string // 80 hex digits
	Body           []byte // canonical
	LogIndex       int64  // global
	IntegratedTime int64  // seconds
}

// entryV1 is a LogEntry's value on the wire.
type entryV1 struct {
	Body           string `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogID          string `json:"logID"`
	LogIndex       int64  `json:"logIndex"`
	Verification   struct {
		Proof struct {
			Checkpoint string   `json:"checkpoint"`
			Hashes     []string `json:"hashes"`
			LogIndex   int64    `json:"logIndex"`
			RootHash   string   `json:"rootHash"`
			TreeSize   int64    `json:"treeSize"`
		} `json:"inclusionProof"`
		SET string `json:"signedEntryTimestamp"`
	} `json:"verification"`
}

// Entry verifies a LogEntry: entry ID, body, log ID, indexes, signed entry
// timestamp, checkpoint, root and inclusion proof. The body must be want, unless
// that is nil.
func (l *LogV1) Entry(answer, want []byte) (Entry, error) {
	id, w, err := decodeEntry(answer)
	if err != nil {
		return Entry{}, err
	}
	body, err := strictBase64.DecodeString(w.Body)
	if err != nil {
		return Entry{}, Wrong(Body, "not base64: %w", err)
	}
	if want != nil && !bytes.Equal(body, want) {
		return Entry{}, Wrong(Body, "got %.300q, want %.300q", body, want)
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(body)
	shard, err := l.shardOf(id, leaf)
	if err != nil {
		return Entry{}, err
	}
	if err := shard.checkPromise(w); err != nil {
		return Entry{}, err
	}
	if err := shard.checkProof(w, leaf); err != nil {
		return Entry{}, err
	}
	return Entry{id, body, w.LogIndex, w.IntegratedTime}, nil
}

func decodeEntry(answer []byte) (string, entryV1, error) {
	var m map[string]entryV1
	if err := json.Unmarshal(answer, &m); err != nil {
		return "", entryV1{}, Wrong(Malformed, "%w in %.200q", err, answer)
	}
	if len(m) != 1 {
		return "", entryV1{}, Wrong(Malformed, "%d entries, want 1", len(m))
	}
	for id, w := range m {
		return id, w, nil
	}
	panic("unreachable")
}

// shardOf finds the tree that an entry ID names, and compares the rest of it with
// the leaf's hash.
func (l *LogV1) shardOf(id string, leaf []byte) (*shardV1, error) {
	if len(id) != 80 {
		return nil, Wrong(EntryID, "%.100q is not 80 digits", id)
	}
	shard, ok := l.shards[id[:16]]
	if !ok {
		return nil, Wrong(EntryID, "tree %s is not the log's", id[:16])
	}
	if want := hex.EncodeToString(leaf); id[16:] != want {
		return nil, Wrong(EntryID, "%s ends in another hash than the body's, %s", id, want)
	}
	return shard, nil
}

// checkPromise verifies log ID, indexes and signed entry timestamp.
func (s *shardV1) checkPromise(w entryV1) error {
	if w.LogID != s.logID {
		return Wrong(LogID, "got %.100s, want %s", w.LogID, s.logID)
	}
	if local := w.Verification.Proof.LogIndex; local < 0 || w.LogIndex != local+s.First {
		return Wrong(Index, "%d of a tree that begins at %d cannot be %d of the log", local, s.First, w.LogIndex)
	}
	set, err := strictBase64.DecodeString(w.Verification.SET)
	if err != nil {
		return Wrong(SET, "not base64: %w", err)
	}
	message := fmt.Appendf(nil, `{"body":"%s","integratedTime":%d,"logID":"%s","logIndex":%d}`,
		w.Body, w.IntegratedTime, w.LogID, w.LogIndex)
	if !verifySignature(s.Key, message, set) {
		return Wrong(SET, "does not verify with the log's key")
	}
	return nil
}

func (s *shardV1) checkProof(w entryV1, leaf []byte) error {
	p := w.Verification.Proof
	h, err := s.notes.verify(p.Checkpoint)
	if err != nil {
		return err
	}
	root, err := decodeHash(p.RootHash)
	if err != nil {
		return Wrong(Root, "%w", err)
	}
	hashes := make([][]byte, len(p.Hashes))
	for i, text := range p.Hashes {
		if hashes[i], err = decodeHash(text); err != nil {
			return Wrong(Proof, "hash %d: %w", i, err)
		}
	}
	return included(h, uint64(p.LogIndex), uint64(p.TreeSize), leaf, hashes, root)
}

// included verifies an inclusion proof against a verified checkpoint.
func included(h head, index, size uint64, leaf []byte, hashes [][]byte, root []byte) error {
	if size != h.size || !bytes.Equal(root, h.root) {
		return Wrong(Root, "the proof is for %x of %d entries, the checkpoint for %x of %d", root, size, h.root, h.size)
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf, hashes, root); err != nil {
		return Wrong(Proof, "index %d of %d: %w", index, size, err)
	}
	return nil
}

func decodeHash(text string) ([]byte, error) {
	h, err := hex.DecodeString(text)
	if err != nil || len(h) != sha256.Size {
		return nil, fmt.Errorf("%.100q is not 64 hex digits", text)
	}
	return h, nil
}

// Found verifies an answer of a search: a list of entry IDs, each 80 hex digits,
// with id among them.
func Found(answer []byte, id string) error {
	var ids []string
	if err := json.Unmarshal(answer, &ids); err != nil {
		return Wrong(Malformed, "%w in %.200q", err, answer)
	}
	for _, found := range ids {
		if _, err := hex.DecodeString(found); err != nil || len(found) != 80 {
			return Wrong(EntryID, "%.100q is not 80 hex digits", found)
		}
	}
	if !slices.Contains(ids, id) {
		return Wrong(Missing, "%s is not among %d entries", id, len(ids))
	}
	return nil
}
