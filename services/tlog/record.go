package tlog

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/services/tlog/entry"
)

// Record is one entry as the log vouches for it.
type Record struct {
	TreeID         int64
	LeafHash       [32]byte // RFC 6962, of Body
	Body           []byte   // canonical entry; not to be changed
	LogID          [32]byte
	LogIndex       uint64 // in the whole log, across its trees
	IntegratedTime int64  // Unix seconds, fixed for ever
	SET            []byte // signed entry timestamp: ECDSA in ASN.1 DER
	Signed         []byte // what SET signs: a JSON object, see setMessage; not to be changed
	Proof          Proof
}

// Proof is an inclusion proof and the checkpoint that it leads to.
type Proof struct {
	Index      uint64 // in its tree
	Checkpoint Checkpoint
	Hashes     [][]byte // leaf to root; empty, never nil, in a tree of one
}

// EntryID is the entry's name: tree ID and leaf hash in 80 hex digits
// (contract: rekor-v1.md §3).
func (r Record) EntryID() string { return EntryID(r.TreeID, r.LeafHash) }

// EntryID names the entry with that leaf hash in that tree.
func EntryID(treeID int64, leafHash [32]byte) string {
	return fmt.Sprintf("%016x%s", uint64(treeID), hex.EncodeToString(leafHash[:]))
}

// Add logs a canonical entry and returns once it is durable, proven, readable
// and found by each of its terms; created is false if it was there before, in the
// tree that takes entries: one of an earlier tree is logged again. It fails with fault.Timeout,
// fault.Canceled or fault.Unavailable, after which the entry may be there all the
// same: adding it again tells. The attestation is stored with a new entry if it is
// one of those, see AttestationLimit; nil: there is none.
func (s *Service) Add(ctx context.Context, canonical []byte, terms entry.Terms, attestation []byte) (r Record, created bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.AddTimeout)
	defer cancel()
	sh, leaf, begin := s.active(), s.leafWith(canonical, terms, attestation), s.cfg.Now()
	added, err := sh.Add(ctx, leaf)
	for ok := true; ok && errors.Is(err, merkle.ErrFrozen); { // it is not in that tree
		if sh, ok = s.activeAfter(sh); ok {
			added, err = sh.Add(ctx, leaf)
		}
	}
	s.metrics.stored.WithLabelValues(strconv.FormatBool(err == nil)).Observe(float64(s.cfg.Now().Sub(begin)))
	if err != nil {
		return Record{}, false, classify(fmt.Errorf("add entry: %w", err))
	}
	if added.Duplicate {
		s.metrics.duplicates.Inc()
	} else {
		s.metrics.entries.Inc()
	}
	r, err = sh.record(added.Entry, added.Proof)
	return r, !added.Duplicate, err
}

// ByIndex returns the entry with that index in the whole log, or fault.NotFound.
func (s *Service) ByIndex(ctx context.Context, logIndex uint64) (Record, error) {
	shards := *s.shards.Load()
	at := len(shards) - 1
	for logIndex < shards[at].base {
		at--
	}
	e, err := shards[at].Entry(ctx, logIndex-shards[at].base)
	if err != nil {
		return Record{}, classify(err)
	}
	return shards[at].prove(ctx, e)
}

// ByHash returns the entry with that leaf hash, or fault.NotFound. Tree 0 is any
// tree, the newest first; one that the log does not have has no entries.
func (s *Service) ByHash(ctx context.Context, treeID int64, leafHash [32]byte) (Record, error) {
	for _, sh := range slices.Backward(*s.shards.Load()) {
		if treeID != 0 && treeID != sh.ID() {
			continue
		}
		e, err := sh.EntryByHash(ctx, leafHash)
		if err == nil {
			return sh.prove(ctx, e)
		}
		if fault.KindOf(err) != fault.NotFound {
			return Record{}, classify(err)
		}
	}
	return Record{}, fault.New(fault.NotFound, "no such entry")
}

// AllByHash returns every entry with that leaf hash: one of each tree that has it,
// the newest first. What was logged may be logged again in a later tree, by anybody,
// and does not take the place of the first. None is no error.
func (s *Service) AllByHash(ctx context.Context, leafHash [32]byte) ([]Record, error) {
	var all []Record
	for _, sh := range slices.Backward(*s.shards.Load()) {
		r, err := s.ByHash(ctx, sh.ID(), leafHash)
		switch {
		case err == nil:
			all = append(all, r)
		case fault.KindOf(err) != fault.NotFound:
			return nil, err
		}
	}
	return all, nil
}

// prove proves an entry in the newest tree of its shard.
func (sh *shard) prove(ctx context.Context, e merkle.Entry) (Record, error) {
	p, err := sh.Inclusion(ctx, e.Index, sh.Head().Size)
	if err != nil {
		return Record{}, classify(fmt.Errorf("prove entry %d: %w", e.Index, err))
	}
	return sh.record(e, p)
}

func (sh *shard) record(e merkle.Entry, p merkle.Proof) (Record, error) {
	r := Record{
		TreeID:         sh.ID(),
		LeafHash:       e.LeafHash,
		Body:           e.Leaf.Value,
		LogID:          sh.logID,
		LogIndex:       sh.base + e.Index,
		IntegratedTime: e.IntegratedAt.Unix(),
		Proof:          Proof{Index: p.Index, Hashes: p.Hashes},
	}
	r.Signed = setMessage(r)
	var err error
	if r.SET, err = sh.signEntry(r.Signed); err != nil {
		return Record{}, err
	}
	// Last: one signs it for the whole batch, and by now seldom makes others wait.
	r.Proof.Checkpoint, err = sh.checkpoint(p.Size, p.Root)
	return r, err
}

// Checkpoint returns the newest checkpoint of the tree that takes entries; of an
// empty tree, too.
func (s *Service) Checkpoint(ctx context.Context) (Checkpoint, error) { return s.active().newest(ctx) }

func (sh *shard) newest(ctx context.Context) (Checkpoint, error) {
	head, err := sh.Newest(ctx)
	if err != nil {
		return Checkpoint{}, classify(fmt.Errorf("read newest head: %w", err))
	}
	return sh.checkpoint(head.Size, head.Root)
}

// Consistency proves that the tree of size last extends that of size first, and
// returns the proof and the newest root of that tree. Tree 0 is the one that takes entries.
// It fails with fault.Invalid for an unknown tree and unless
// 1 <= first <= last <= the newest size.
func (s *Service) Consistency(ctx context.Context, treeID int64, first, last uint64) ([][]byte, [32]byte, error) {
	sh := s.shardOf(treeID)
	if sh == nil {
		return nil, [32]byte{}, fault.New(fault.Invalid, "no such tree")
	}
	head, err := sh.Newest(ctx)
	if err != nil {
		return nil, head.Root, classify(fmt.Errorf("read newest head: %w", err))
	}
	switch {
	case first == 0 || first > last:
		return nil, head.Root, fault.Newf(fault.Invalid, "firstSize(%d) must be at least 1 and not more than lastSize(%d)", first, last)
	case last > head.Size:
		return nil, head.Root, fault.Newf(fault.Invalid, "lastSize(%d) is more than the log has now (%d)", last, head.Size)
	}
	hashes, err := sh.Consistency(ctx, first, last)
	if err != nil {
		return nil, head.Root, classify(fmt.Errorf("prove consistency: %w", err))
	}
	return hashes, head.Root, nil
}

// Check reads the newest entry of each shard and signs for it, as a reader would
// have it done: the trees answer, the keys work. It writes nothing.
func (s *Service) Check(ctx context.Context) error {
	for _, sh := range *s.shards.Load() {
		if err := sh.check(ctx); err != nil {
			return fmt.Errorf("check newest entry of tree %d: %w", sh.ID(), err)
		}
	}
	return nil
}

func (sh *shard) check(ctx context.Context) error {
	size := sh.Head().Size
	if size == 0 {
		_, err := sh.newest(ctx)
		return err
	}
	e, err := sh.Entry(ctx, size-1)
	if err != nil {
		return classify(err)
	}
	r, err := sh.prove(ctx, e)
	if err != nil {
		return err
	}
	return sh.verify(r)
}

// classify gives the end of a request its kind where the tree has not.
func classify(err error) error {
	switch {
	case fault.KindOf(err) != fault.Internal:
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(fault.Timeout, err, "the log did not answer in time")
	case errors.Is(err, context.Canceled):
		return fault.Wrap(fault.Canceled, err, "client went away")
	default:
		return err
	}
}
