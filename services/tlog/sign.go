package tlog

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Checkpoint is a signed head of a tree.
type Checkpoint struct {
	Size uint64
	Root [32]byte
	Note string // a signed note with one signature
}

// headCache keeps the last few checkpoints: every entry of a batch and every
// reader between two batches needs the same one, and while one batch is being
// answered the next is under way. A frozen tree needs one for ever.
type headCache struct {
	mu     sync.Mutex
	recent [4]Checkpoint // guarded by mu; Note "" where there is none yet
	oldest int           // guarded by mu; index in recent
}

// checkpoint returns the signed head of that size and root. The lock is held
// while signing, so that those who need the same one wait for it instead of
// making their own.
func (sh *shard) checkpoint(size uint64, root [32]byte) (Checkpoint, error) {
	sh.heads.mu.Lock()
	defer sh.heads.mu.Unlock()
	for _, c := range sh.heads.recent {
		if c.Note != "" && c.Size == size && c.Root == root {
			return c, nil
		}
	}
	note, err := sh.signHead(size, root)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("sign checkpoint of size %d: %w", size, err)
	}
	c := Checkpoint{size, root, note}
	sh.heads.recent[sh.heads.oldest] = c
	sh.heads.oldest = (sh.heads.oldest + 1) % len(sh.heads.recent)
	return c, nil
}

// signHead makes the note (contract: rekor-v1.md §5). The key hint of a version
// 1 log is the beginning of its log ID, whatever the note format says.
func (sh *shard) signHead(size uint64, root [32]byte) (string, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n", sh.origin, size, base64.StdEncoding.EncodeToString(root[:]))
	sig, err := sh.sign([]byte(text))
	if err != nil {
		return "", err
	}
	line := base64.StdEncoding.EncodeToString(append(sh.logID[:4:4], sig...))
	return fmt.Sprintf("%s\n\u2014 %s %s\n", text, sh.host, line), nil
}

// signEntry makes the signed entry timestamp (contract: rekor-v1.md §4).
func (sh *shard) signEntry(message []byte) ([]byte, error) {
	set, err := sh.sign(message)
	if err != nil {
		return nil, fmt.Errorf("sign entry timestamp: %w", err)
	}
	return set, nil
}

// setMessage is RFC 8785 JSON: body, integratedTime, logID and logIndex. Nothing in
// it needs escaping.
func setMessage(r Record) []byte {
	out := make([]byte, 0, base64.StdEncoding.EncodedLen(len(r.Body))+192)
	out = append(out, `{"body":"`...)
	out = base64.StdEncoding.AppendEncode(out, r.Body)
	out = append(out, `","integratedTime":`...)
	out = strconv.AppendInt(out, r.IntegratedTime, 10)
	out = append(out, `,"logID":"`...)
	out = hex.AppendEncode(out, r.LogID[:])
	out = append(out, `","logIndex":`...)
	out = strconv.AppendUint(out, r.LogIndex, 10)
	return append(out, '}')
}

func (sh *shard) sign(message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	return sh.signer.Sign(rand.Reader, digest[:], crypto.SHA256)
}

// verify checks a record that this log made.
func (sh *shard) verify(r Record) error {
	pub, ok := sh.signer.Public().(*ecdsa.PublicKey)
	if !ok {
		return errors.New("the log's key has changed")
	}
	digest := sha256.Sum256(setMessage(r))
	if !ecdsa.VerifyASN1(pub, digest[:], r.SET) {
		return errors.New("the log's key does not verify its own signature")
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(r.Body)
	if string(leaf) != string(r.LeafHash[:]) {
		return errors.New("the stored body does not have the stored hash")
	}
	c := r.Proof.Checkpoint
	return proof.VerifyInclusion(rfc6962.DefaultHasher, r.Proof.Index, c.Size, leaf, r.Proof.Hashes, c.Root[:])
}
