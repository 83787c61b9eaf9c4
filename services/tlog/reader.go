package tlog

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/entry/kinds"
)

// Reader reads the shards of a log that is not served, without its keys. It signs
// nothing.
type Reader struct{ shards []*shard }

// NewReader reads trees, the oldest first.
func NewReader(trees []Tree) *Reader {
	r := &Reader{}
	var base uint64
	for _, t := range trees {
		r.shards = append(r.shards, &shard{Tree: t, base: base})
		base += t.Head().Size
	}
	return r
}

// Stored is an entry as it is stored. Whether its parts agree is the reader's to
// check.
type Stored struct {
	merkle.Entry
	TreeID      int64
	LogIndex    uint64
	Attestation []byte     // nil: none is stored
	Terms       [][32]byte // SHA-256 of the words that it is found by
	tree        Tree
}

// ByIndex returns the entry with that index in the whole log, or fault.NotFound.
func (r *Reader) ByIndex(ctx context.Context, logIndex uint64) (Stored, error) {
	for _, sh := range slices.Backward(r.shards) {
		if logIndex >= sh.base {
			e, err := sh.Entry(ctx, logIndex-sh.base)
			return r.stored(ctx, sh, e, err)
		}
	}
	return Stored{}, fault.New(fault.NotFound, "no such entry")
}

// ByHash returns the entry with that leaf hash in a tree, 0 being any, or
// fault.NotFound.
func (r *Reader) ByHash(ctx context.Context, treeID int64, leafHash [32]byte) (Stored, error) {
	for _, sh := range slices.Backward(r.shards) {
		if treeID != 0 && treeID != sh.ID() {
			continue
		}
		e, err := sh.EntryByHash(ctx, leafHash)
		if err != nil && fault.KindOf(err) == fault.NotFound {
			continue
		}
		return r.stored(ctx, sh, e, err)
	}
	return Stored{}, fault.New(fault.NotFound, "no such entry")
}

func (r *Reader) stored(ctx context.Context, sh *shard, e merkle.Entry, err error) (Stored, error) {
	if err != nil {
		return Stored{}, err
	}
	out := Stored{Entry: e, TreeID: sh.ID(), LogIndex: sh.base + e.Index, tree: sh.Tree}
	rows, err := derivedRows(e)
	if err != nil {
		return Stored{}, fmt.Errorf("entry %d: %w", out.LogIndex, err)
	}
	for _, row := range rows {
		if row.Key[0] == rowSearch {
			out.Terms = append(out.Terms, [32]byte(row.Key[1:]))
		}
	}
	if digest, ok := entry.AttestationDigest(e.Leaf.Value); ok {
		if out.Attestation, err = sh.Row(ctx, attestationKey(digest)); err == nil && out.Attestation != nil {
			err = soundAttestation(attestationKey(digest), out.Attestation)
		}
	}
	return out, err
}

// Prove proves an entry in its tree of a size, 0 being the newest.
func (s Stored) Prove(ctx context.Context, size uint64) (merkle.Proof, error) {
	if size == 0 {
		size = s.tree.Head().Size
	}
	return s.tree.Inclusion(ctx, s.Index, size)
}

// Tree returns the shard with that tree ID, 0 being the last one with entries; nil
// if there is none.
func (r *Reader) Tree(id int64) Tree {
	for _, sh := range slices.Backward(r.shards) {
		if id == sh.ID() || id == 0 && sh.Head().Size > 0 {
			return sh.Tree
		}
	}
	return nil
}

// Search calls each with the entries that have any of the terms or, if all, each
// of them, the newest first, until it returns false.
func (r *Reader) Search(ctx context.Context, terms []string, all bool, each func(tree int64, leafHash [32]byte) (bool, error)) error {
	for _, sh := range slices.Backward(r.shards) {
		q := search{read: sh.RowsBefore, all: all, left: maxRows}
		for _, term := range terms {
			q.cursors = append(q.cursors, &cursor{key: termKey(term)})
		}
		before := sh.Head().Size
		for len(q.cursors) > 0 {
			row, ok, err := q.next(ctx, before)
			if err != nil {
				return fmt.Errorf("search tree %d: %w", sh.ID(), err)
			}
			if !ok && q.left <= 0 {
				q.left = maxRows // nobody else waits here
				continue
			}
			if !ok {
				break
			}
			if len(row.Value) != sha256.Size {
				return fmt.Errorf("search tree %d: row of entry %d holds %d bytes, not a leaf hash", sh.ID(), row.Index, len(row.Value))
			}
			if more, err := each(sh.ID(), [32]byte(row.Value)); err != nil || !more {
				return err
			}
			before = row.Index
		}
	}
	return nil
}

// BodyTerms are the words that an entry is found by and that its body tells.
func BodyTerms(body []byte) []string { return entry.BodyTerms(body) }

// MayBeHidden tells whether an entry may be found by a word that its body does not
// have: the digests of a statement that is not logged, and whatever tells of a kind
// that only its library reads.
func MayBeHidden(body []byte, word string) bool {
	var e struct{ Kind string }
	if json.Unmarshal(body, &e) != nil {
		return false
	}
	_, value, digest := strings.Cut(word, ":")
	switch e.Kind {
	case "hashedrekord":
		return false
	case "dsse", "intoto":
		return digest && !strings.HasPrefix(value, "//") // which is a name
	default:
		return true
	}
}

// Words are the words of a question as the index spells them: for names, the digest
// of what was signed, and the key that did; "" and no key are none.
func Words(email, subject, hash, keyFormat string, key []byte) ([]string, error) {
	var words []string
	for _, word := range []string{email, subject} {
		if word != "" {
			words = append(words, entry.Term(word))
		}
	}
	if hash != "" {
		if !strings.Contains(hash, ":") {
			hash = map[int]string{40: "sha1:", 64: "sha256:", 96: "sha384:", 128: "sha512:"}[len(hash)] + hash
		}
		words = append(words, entry.Term(hash))
	}
	if len(key) > 0 {
		term, err := kinds.KeyTerm(keyFormat, key)
		if err != nil {
			return nil, fmt.Errorf("read public key: %w", err)
		}
		words = append(words, term)
	}
	return words, nil
}
