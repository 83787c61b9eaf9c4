package signing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/protobuf/proto"

	"sigstack/internal/pki"
)

// LogChecker asks a kit's Rekor v1 log about what it once promised.
type LogChecker struct {
	kit *Kit
	log *LogReader
}

// NewLogChecker chooses the log; it does not call it yet.
func (k *Kit) NewLogChecker(now time.Time) (*LogChecker, error) {
	log, err := k.NewLogReader("", now)
	if err != nil {
		return nil, err
	}
	return &LogChecker{k, log}, nil
}

// LeafHash is the hash under which a log knows the entry of a bundle with one.
func (b *Bundle) LeafHash() [32]byte {
	var body []byte
	if len(b.entity.entries) > 0 {
		body = b.entity.entries[0].TransparencyLogEntry().GetCanonicalizedBody()
	}
	return [32]byte(rfc6962.DefaultHasher.HashLeaf(body))
}

// Holds asks the log for the entry of a bundle over digest by id, and checks that
// it is still there, where it was, and that the log has only grown since: with a
// consistency proof from the tree that the bundle was proven in to that of now.
func (c *LogChecker) Holds(ctx context.Context, b *Bundle, digest []byte, id *Identity) error {
	if _, err := VerifyDigest(digest, b, c.kit.Trusted, id); err != nil {
		return err
	}
	was := b.entity.entries[0].TransparencyLogEntry()
	tree, err := treeOf(was.GetInclusionProof())
	if err != nil {
		return err
	}
	// By its tree, too: anybody may log the same again in a later one.
	got, err := c.log.get(ctx, fmt.Sprintf("/api/v1/log/entries/%016x%x", tree, b.LeafHash()))
	if err != nil {
		return err
	}
	entry, err := parseLogAnswer(got)
	if err != nil {
		return fmt.Errorf("read answer of transparency log at %s: %w", c.log.base, err)
	}
	if entry.GetLogIndex() != was.GetLogIndex() {
		return fmt.Errorf("the transparency log has the entry at %d, it promised %d", entry.GetLogIndex(), was.GetLogIndex())
	}
	fresh := proto.CloneOf(b.entity.Bundle.Bundle)
	fresh.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	now, err := newBundle(fresh)
	if err != nil {
		return err
	}
	if _, err := VerifyDigest(digest, now, c.kit.Trusted, id); err != nil {
		return fmt.Errorf("the transparency log's answer of now: %w", err)
	}
	return c.grown(ctx, tree, was.GetInclusionProof(), entry.GetInclusionProof())
}

// treeOf returns the ID of the tree that an inclusion proof is from.
func treeOf(p *protorekor.InclusionProof) (uint64, error) {
	c, err := parseCheckpoint(p.GetCheckpoint().GetEnvelope())
	if err != nil {
		return 0, err
	}
	tree, err := strconv.ParseUint(c.origin[strings.LastIndex(c.origin, " ")+1:], 10, 63)
	if err != nil {
		return 0, fmt.Errorf("the checkpoint's origin %q names no tree of a log", shorten(c.origin, maxMessage))
	}
	return tree, nil
}

// grown checks that the tree of one inclusion proof is the beginning of the
// other's. Both were verified.
func (c *LogChecker) grown(ctx context.Context, tree uint64, was, now *protorekor.InclusionProof) error {
	if now.GetTreeSize() < was.GetTreeSize() {
		return fmt.Errorf("the transparency log had %d entries, and now has %d", was.GetTreeSize(), now.GetTreeSize())
	}
	hashes, err := c.log.fetchConsistency(ctx, strconv.FormatUint(tree, 10), uint64(was.GetTreeSize()), uint64(now.GetTreeSize()))
	if err != nil {
		return err
	}
	err = proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(was.GetTreeSize()), uint64(now.GetTreeSize()),
		hashes, was.GetRootHash(), now.GetRootHash())
	if err != nil {
		return fmt.Errorf("the transparency log of %d entries is not the one that had %d: %w", now.GetTreeSize(), was.GetTreeSize(), plainMismatch(err))
	}
	return nil
}

// SignedBy asks the log for all entries of key, an ECDSA key, and returns the
// SHA-256 digests that it signed there, the newest first, but for entries whose
// leaf hash is known already. An entry that key has not signed is an error: the
// log's word alone proves nothing. It reports false where the log has more than it
// tells.
func (c *LogChecker) SignedBy(ctx context.Context, key crypto.PublicKey, known func(leaf [32]byte) bool) (digests [][32]byte, all bool, err error) {
	ids, all, err := c.entriesOf(ctx, key)
	if err != nil {
		return nil, false, err
	}
	for _, id := range ids {
		leaf, err := hex.DecodeString(id[max(0, len(id)-2*sha256.Size):])
		if err != nil || len(leaf) != sha256.Size {
			return nil, false, fmt.Errorf("the transparency log at %s names an entry %q", c.log.base, shorten(id, maxMessage))
		}
		if known([32]byte(leaf)) {
			continue
		}
		digest, err := c.signed(ctx, hex.EncodeToString(leaf), key)
		if err != nil {
			return nil, false, err
		}
		digests = append(digests, digest)
	}
	return digests, all, nil
}

func (c *LogChecker) entriesOf(ctx context.Context, key crypto.PublicKey) (ids []string, all bool, err error) {
	spki, err := pki.MarshalPublicKey(key)
	if err != nil {
		return nil, false, err
	}
	ids, more, err := c.log.Search(ctx, LogQuery{KeyFormat: "x509", Key: pki.PublicKeyPEM(spki)})
	return ids, !more, err
}

// signed returns the digest that the entry with a leaf hash is over.
func (c *LogChecker) signed(ctx context.Context, leaf string, key crypto.PublicKey) (digest [32]byte, err error) {
	got, err := c.log.get(ctx, "/api/v1/log/entries/"+leaf)
	if err != nil {
		return digest, err
	}
	entry, err := parseLogAnswer(got)
	if err != nil {
		return digest, fmt.Errorf("read entry %s of the transparency log: %w", leaf, err)
	}
	var body hashedRekord
	if err := json.Unmarshal(entry.GetCanonicalizedBody(), &body); err != nil {
		return digest, fmt.Errorf("read entry %s of the transparency log: %w", leaf, err)
	}
	raw, err := hex.DecodeString(body.Spec.Data.Hash.Value)
	public, isECDSA := key.(*ecdsa.PublicKey)
	if err != nil || len(raw) != len(digest) || !isECDSA || !ecdsa.VerifyASN1(public, raw, body.Spec.Signature.Content) {
		return digest, refuse(CheckEntry, fmt.Errorf("the transparency log says that entry %s is of a key that has not signed it", leaf))
	}
	return [32]byte(raw), nil
}
