package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/signing"
	"sigstack/services/tlog"
)

// StoppedLog reads the transparency log of a directory that is not served. It
// changes no byte.
type StoppedLog struct {
	reader *tlog.Reader
	close  []func() error
}

// OpenStoppedLog opens the log of a directory, or of a copy. It refuses one whose
// end was cut off since its newest head was written to checkpoints/. The error
// matches durable.ErrLocked if the directory is served.
func OpenStoppedLog(ctx context.Context, dir string, now func() time.Time) (*StoppedLog, error) {
	l := Layout{dir}
	conf, err := config.Load(l.Config())
	if err != nil {
		return nil, err
	}
	if conf.TLog == nil {
		return nil, fmt.Errorf("the stack in %s has no transparency log: name the directory of the process that has", dir)
	}
	further, err := l.readShards()
	if err != nil {
		return nil, err
	}
	s := &StoppedLog{}
	release, err := durable.HoldForReading(dir)
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, release)
	store, err := l.openStorageForReading(conf, now)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.close = append(s.close, store.Close)
	var trees []tlog.Tree
	for _, e := range allShards(conf.TLog, further) {
		in, err := store.of(ctx, e.Name)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		tree, err := merkle.Open(ctx, merkle.Config{Storage: in, TreeID: e.TreeID, Now: now, HeadFile: l.Head(e.Name)})
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		trees = append(trees, tree)
	}
	s.reader = tlog.NewReader(trees)
	return s, nil
}

// Close releases the directory.
func (s *StoppedLog) Close() error {
	var errs []error
	for _, end := range slices.Backward(s.close) {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}

// Get returns the entry with an index, a UUID or an entry ID, proven in its tree of
// a size, 0 being the newest. The body was hashed and the proof verified; there is
// no signature, since those are made when an entry is read from a log that is
// served. The error matches signing.ErrNoEntry where there is none.
func (s *StoppedLog) Get(ctx context.Context, name string, size uint64) (signing.LogEntry, error) {
	stored, err := s.find(ctx, strings.ToLower(name))
	if err != nil && fault.KindOf(err) == fault.NotFound {
		return signing.LogEntry{}, fmt.Errorf("entry %s: %w", name, signing.ErrNoEntry)
	}
	if err != nil {
		return signing.LogEntry{}, err
	}
	return prove(ctx, stored, size)
}

func (s *StoppedLog) find(ctx context.Context, name string) (tlog.Stored, error) {
	if len(name) < 64 {
		index, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			return tlog.Stored{}, fmt.Errorf("%q names no entry: want an index, or 64 or 80 hex digits", name)
		}
		return s.reader.ByIndex(ctx, index)
	}
	raw, err := hex.DecodeString(name[len(name)-64:])
	tree, treeErr := strconv.ParseInt("0"+name[:len(name)-64], 16, 64)
	if err != nil || treeErr != nil || len(name) != 64 && len(name) != 80 {
		return tlog.Stored{}, fmt.Errorf("%q names no entry: want an index, or 64 or 80 hex digits", name)
	}
	return s.reader.ByHash(ctx, tree, [32]byte(raw))
}

func prove(ctx context.Context, e tlog.Stored, size uint64) (signing.LogEntry, error) {
	p, err := e.Prove(ctx, size)
	if err != nil {
		return signing.LogEntry{}, err
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(e.Leaf.Value)
	if string(leaf) != string(e.LeafHash[:]) {
		return signing.LogEntry{}, fmt.Errorf("entry %d is damaged: its body hashes to %x, stored is %x; sigstack log fsck tells more", e.LogIndex, leaf, e.LeafHash)
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, p.Size, leaf, p.Hashes, p.Root[:]); err != nil {
		return signing.LogEntry{}, fmt.Errorf("entry %d is not in the tree: %w; sigstack log fsck tells more", e.LogIndex, err)
	}
	return signing.LogEntry{
		EntryID: tlog.EntryID(e.TreeID, e.LeafHash), UUID: hex.EncodeToString(leaf), TreeID: strconv.FormatInt(e.TreeID, 10),
		LogIndex: e.LogIndex, Index: e.Index, IntegratedTime: e.IntegratedAt.Unix(), Body: e.Leaf.Value, Attestation: e.Attestation,
		TreeSize: p.Size, RootHash: hex.EncodeToString(p.Root[:]), Hashes: hexes(p.Hashes),
	}, nil
}

func hexes(hashes [][]byte) []string {
	out := make([]string, len(hashes))
	for i, h := range hashes {
		out[i] = hex.EncodeToString(h)
	}
	return out
}

// Consistency proves that a shard of size second extends that of size first; the
// tree ID "" is the newest shard with entries, and a second of 0 its size.
func (s *StoppedLog) Consistency(ctx context.Context, treeID string, first, second uint64) (signing.LogConsistency, error) {
	id, err := strconv.ParseInt("0"+treeID, 10, 64)
	tree := s.reader.Tree(id)
	if err != nil || tree == nil {
		return signing.LogConsistency{}, fmt.Errorf("the log has no tree %q with entries", treeID)
	}
	head := tree.Head()
	if second == 0 {
		second = head.Size
	}
	if first == 0 || first > second || second > head.Size {
		return signing.LogConsistency{}, fmt.Errorf("no proof from size %d to %d in a tree of %d entries: the first must be at least 1, and not more than the second", first, second, head.Size)
	}
	hashes, err := tree.Consistency(ctx, first, second)
	if err != nil {
		return signing.LogConsistency{}, err
	}
	a, err := tree.Inclusion(ctx, 0, first)
	if err != nil {
		return signing.LogConsistency{}, err
	}
	b, err := tree.Inclusion(ctx, 0, second)
	if err == nil {
		err = proof.VerifyConsistency(rfc6962.DefaultHasher, first, second, hashes, a.Root[:], b.Root[:])
	}
	return signing.LogConsistency{
		LogTree: signing.LogTree{TreeID: strconv.FormatInt(tree.ID(), 10), Size: head.Size, RootHash: hex.EncodeToString(head.Root[:])},
		First:   first, Second: second, FirstRoot: hex.EncodeToString(a.Root[:]), SecondRoot: hex.EncodeToString(b.Root[:]), Hashes: hexes(hashes),
	}, err
}

// LogMatch says by what an entry is one that was searched for.
type LogMatch string

// What an entry matches by.
const (
	MatchBody  LogMatch = "body"  // what is logged says so
	MatchIndex LogMatch = "index" // the log's index says so, and what is logged neither does nor can
)

// LogHit is an entry that a search found.
type LogHit struct {
	signing.LogEntry
	Match LogMatch `json:"match"`
}

// Search returns entries that have what is asked for, the newest first, at most
// limit; 0: all. more tells that there are others.
func (s *StoppedLog) Search(ctx context.Context, q signing.LogQuery, limit int) (hits []LogHit, more bool, err error) {
	words, err := queryTerms(q)
	if err != nil {
		return nil, false, err
	}
	hits = []LogHit{}
	err = s.reader.Search(ctx, words, q.And, func(tree int64, leaf [32]byte) (bool, error) {
		if limit > 0 && len(hits) == limit {
			more = true
			return false, nil
		}
		stored, err := s.reader.ByHash(ctx, tree, leaf)
		if err != nil {
			return false, fmt.Errorf("the index leads to %s: %w; sigstack log fsck tells more", tlog.EntryID(tree, leaf), err)
		}
		has := func(word string) bool { return slices.Contains(stored.Terms, sha256.Sum256([]byte(word))) }
		if !satisfies(words, q.And, has) {
			return false, fmt.Errorf("the index leads to entry %d, which is not one of those: sigstack log fsck tells more", stored.LogIndex)
		}
		e, err := prove(ctx, stored, 0)
		hits = append(hits, LogHit{e, matchOf(words, q.And, stored.Leaf.Value)})
		return true, err
	})
	return hits, more, err
}

// CheckHit tells by what an entry that a log's index led to is one that was asked
// for. Where the body of one of its kind would have to say so and does not, the
// error is a *signing.RefusedError.
func CheckHit(q signing.LogQuery, e signing.LogEntry) (LogHit, error) {
	words, err := queryTerms(q)
	if err != nil {
		return LogHit{}, err
	}
	hit := LogHit{e, matchOf(words, q.And, e.Body)}
	if hit.Match == MatchBody {
		return hit, nil
	}
	may := func(word string) bool {
		return slices.Contains(tlog.BodyTerms(e.Body), word) || tlog.MayBeHidden(e.Body, word)
	}
	if !satisfies(words, q.And, may) {
		return LogHit{}, &signing.RefusedError{Check: signing.CheckEntry, Err: fmt.Errorf("the log's index led to entry %s, which has nothing of what was asked for", e.EntryID)}
	}
	return hit, nil
}

func matchOf(words []string, and bool, body []byte) LogMatch {
	terms := tlog.BodyTerms(body)
	if satisfies(words, and, func(word string) bool { return slices.Contains(terms, word) }) {
		return MatchBody
	}
	return MatchIndex
}

func satisfies(words []string, and bool, has func(string) bool) bool {
	if and {
		return !slices.ContainsFunc(words, func(w string) bool { return !has(w) })
	}
	return slices.ContainsFunc(words, has)
}

// queryTerms are the words of a question as the index spells them.
func queryTerms(q signing.LogQuery) ([]string, error) {
	return tlog.Words(q.Email, q.Subject, q.Hash, q.KeyFormat, q.Key)
}
