package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// verifyEntry verifies all that an entry says (contract rekor-v1 §3-§5), whatever
// its kind. Errors are refusals.
func (t *TrustRoot) verifyEntry(e LogEntry) error {
	leaf := rfc6962.DefaultHasher.HashLeaf(e.Body)
	if hex.EncodeToString(leaf) != e.UUID {
		return refuse(CheckEntry, fmt.Errorf("the body of entry %s has the leaf hash %x", e.EntryID, leaf))
	}
	log, key, err := t.logByID(e.LogID)
	if err != nil {
		return err
	}
	set := sha256.Sum256(fmt.Appendf(nil, `{"body":"%s","integratedTime":%d,"logID":"%s","logIndex":%d}`,
		base64.StdEncoding.EncodeToString(e.Body), e.IntegratedTime, e.LogID, e.LogIndex))
	if !ecdsa.VerifyASN1(key, set[:], e.SET) {
		return refuse(CheckPromise, errors.New("the signed entry timestamp is not by the log's key over this entry"))
	}
	at := time.Unix(e.IntegratedTime, 0)
	if at.Before(log.ValidityPeriodStart.Truncate(time.Second)) || !log.ValidityPeriodEnd.IsZero() && at.After(log.ValidityPeriodEnd) {
		return refuse(CheckPromise, fmt.Errorf("the log's key was not trusted at %s", at.UTC().Format(time.RFC3339)))
	}
	if err := t.verifyTree(LogTree{e.TreeID, e.TreeSize, e.RootHash, e.Checkpoint}); err != nil {
		return err
	}
	hashes, err := decodeHashes(e.Hashes)
	if err != nil {
		return refuse(CheckInclusion, err)
	}
	rootHash, err := hex.DecodeString(e.RootHash)
	if err == nil {
		err = proof.VerifyInclusion(rfc6962.DefaultHasher, e.Index, e.TreeSize, leaf, hashes, rootHash)
	}
	if err != nil {
		return refuse(CheckInclusion, plainMismatch(err))
	}
	return nil
}

// logByID returns a Rekor v1 log of the trust root and its key.
func (t *TrustRoot) logByID(id string) (*root.TransparencyLog, *ecdsa.PublicKey, error) {
	log, ok := t.material.RekorLogs()[id]
	if !ok {
		return nil, nil, refuse(CheckLog, fmt.Errorf("log %s is not in the trust root %s", shorten(id, maxMessage), t))
	}
	key, ok := log.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, nil, refuse(CheckLog, fmt.Errorf("the key of log %s is a %T, want ECDSA P-256", id, log.PublicKey))
	}
	return log, key, nil
}

// verifyTree verifies a tree's checkpoint: that a key of the trust root signed it,
// and that it is for that tree, size and root. Errors are refusals.
func (t *TrustRoot) verifyTree(tree LogTree) error {
	c, err := parseCheckpoint(tree.Checkpoint)
	if err != nil {
		return refuse(CheckInclusion, err)
	}
	text, line, _ := strings.Cut(tree.Checkpoint, "\n\n")
	parts := strings.Fields(line)
	if len(c.signers) != 1 || len(parts) != 3 {
		return refuse(CheckInclusion, fmt.Errorf("the checkpoint has %d signatures, want one", len(c.signers)))
	}
	sig, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(sig) < 5 {
		return refuse(CheckInclusion, errors.New("the checkpoint's signature cannot be decoded"))
	}
	digest := sha256.Sum256([]byte(text + "\n"))
	if err := t.signedBy(sig, digest[:], c); err != nil {
		return err
	}
	switch {
	case !strings.HasSuffix(c.origin, " - "+tree.TreeID):
		return refuse(CheckInclusion, fmt.Errorf("the checkpoint is of %q, want tree %s", c.origin, tree.TreeID))
	case uint64(c.size) != tree.Size || hex.EncodeToString(c.root) != tree.RootHash:
		return refuse(CheckInclusion, fmt.Errorf("the checkpoint is for %d entries and root %x, the log says %d and %s", c.size, c.root, tree.Size, shorten(tree.RootHash, maxMessage)))
	}
	return nil
}

// signedBy wants a signature, behind the hint of its key, to be by a log of the
// trust root that goes by the name in the checkpoint.
func (t *TrustRoot) signedBy(sig, digest []byte, c checkpoint) error {
	for id, log := range t.material.RekorLogs() {
		if !strings.HasPrefix(id, hex.EncodeToString(sig[:4])) {
			continue
		}
		if key, ok := log.PublicKey.(*ecdsa.PublicKey); ok && ecdsa.VerifyASN1(key, digest, sig[4:]) {
			if err := checkSigners(c, log.BaseURL); err != nil {
				return refuse(CheckInclusion, err)
			}
			return nil
		}
	}
	return refuse(CheckInclusion, fmt.Errorf("no log of the trust root %s signed the checkpoint", t))
}

// prover asks for what a consistency proof is made of: the hashes between two
// sizes of a tree, and entries of it by their index in it, which are verified.
type prover struct {
	tree  LogTree
	proof func(first, second uint64) ([][]byte, error)
	entry func(index uint64) (LogEntry, error)
}

// consistency makes the roots of both sizes from what leads to a verified root, and
// verifies the proof between them.
func (p prover) consistency(first, second uint64) (LogConsistency, error) {
	out := LogConsistency{LogTree: p.tree, First: first, Second: second, Hashes: []string{}}
	if first == 0 || first > second {
		return out, fmt.Errorf("no proof from size %d to %d: the first must be at least 1, and not more than the second", first, second)
	}
	firstRoot, err := p.rootAt(first)
	if err != nil {
		return out, err
	}
	secondRoot, err := p.rootAt(second)
	if err != nil {
		return out, err
	}
	hashes, err := p.proof(first, second)
	if err != nil {
		return out, err
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, first, second, hashes, firstRoot, secondRoot); err != nil {
		return out, refuse(CheckInclusion, plainMismatch(err))
	}
	for _, h := range hashes {
		out.Hashes = append(out.Hashes, hex.EncodeToString(h))
	}
	out.FirstRoot, out.SecondRoot = hex.EncodeToString(firstRoot), hex.EncodeToString(secondRoot)
	return out, nil
}

// rootAt returns the root over the first size entries. It is in the consistency
// proof to the newest, unless the size is a power of two: then it is the one left
// sibling on the way up from the entry behind.
func (p prover) rootAt(size uint64) ([]byte, error) {
	newest, err := hex.DecodeString(p.tree.RootHash)
	if err != nil || size == p.tree.Size {
		return newest, err
	}
	if bits.OnesCount64(size) == 1 {
		return p.leftOf(size)
	}
	hashes, err := p.proof(size, p.tree.Size)
	if err != nil {
		return nil, err
	}
	old, full, err := consistencyRoots(size, p.tree.Size, hashes)
	if err != nil {
		return nil, refuse(CheckInclusion, err)
	}
	if !bytes.Equal(full, newest) {
		return nil, refuse(CheckInclusion, fmt.Errorf("the proof from size %d leads to root %x, the signed one is %x", size, full, newest))
	}
	return old, nil
}

// leftOf returns the root of the perfect tree before an entry, from the entry's
// inclusion proof, which was verified.
func (p prover) leftOf(index uint64) ([]byte, error) {
	e, err := p.entry(index)
	if err != nil {
		return nil, err
	}
	if e.TreeID != p.tree.TreeID || e.Index != index {
		return nil, refuse(CheckEntry, fmt.Errorf("asked for entry %d of tree %s, the log answered with %d of tree %s", index, p.tree.TreeID, e.Index, e.TreeID))
	}
	hashes, err := decodeHashes(e.Hashes)
	if err != nil {
		return nil, err
	}
	fn, sn := index, e.TreeSize-1
	for _, h := range hashes {
		if fn&1 == 1 || fn == sn {
			return h, nil
		}
		fn, sn = fn>>1, sn>>1
	}
	return nil, refuse(CheckInclusion, fmt.Errorf("the proof of entry %d has nothing on its left", index))
}

// consistencyRoots computes what a consistency proof (RFC 6962 §2.1.2) leads to:
// the root of size first, which is no power of two, and that of size second.
func consistencyRoots(first, second uint64, hashes [][]byte) (old, full []byte, err error) {
	if first == 0 || first >= second || bits.OnesCount64(first) == 1 || len(hashes) == 0 {
		return nil, nil, fmt.Errorf("no roots follow from a proof of %d hashes from size %d to %d", len(hashes), first, second)
	}
	h := rfc6962.DefaultHasher
	fn, sn := first-1, second-1
	for fn&1 == 1 {
		fn, sn = fn>>1, sn>>1
	}
	old, full = hashes[0], hashes[0]
	for _, c := range hashes[1:] {
		if sn == 0 {
			return nil, nil, errors.New("the proof is too long")
		}
		if fn&1 == 1 || fn == sn {
			old, full = h.HashChildren(c, old), h.HashChildren(c, full)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			full = h.HashChildren(full, c)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 {
		return nil, nil, errors.New("the proof is too short")
	}
	return old, full, nil
}
