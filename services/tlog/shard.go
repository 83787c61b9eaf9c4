package tlog

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"slices"

	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
)

// Shard is one tree of the log, and the key that signs for it.
type Shard struct {
	// Tree holds the entries.
	Tree Tree
	// Signer must be ECDSA P-256: clients verify entries with nothing else. It
	// signs for what is in the tree as long as anybody asks.
	Signer keys.Key
}

// shard is a Shard in its place. Nothing in it changes but for heads.
type shard struct {
	Tree
	signer keys.Key
	host   string
	logID  [32]byte
	origin string // of checkpoints
	base   uint64 // entries in the shards before, which is the index of the first one here
	heads  headCache
}

// follow puts a shard behind others, the last of which must be frozen by then.
func (s *Service) follow(shards []*shard, next Shard) ([]*shard, error) {
	if err := s.checkShard(shards, next); err != nil {
		return nil, err
	}
	sh := &shard{
		Tree: next.Tree, signer: next.Signer, host: s.cfg.Host,
		logID:  pki.LogID(next.Signer.SPKI()),
		origin: fmt.Sprintf("%s - %d", s.cfg.Host, next.Tree.ID()),
	}
	if len(shards) > 0 {
		last := shards[len(shards)-1]
		sh.base = last.base + last.Head().Size
	}
	return append(slices.Clip(shards), sh), nil
}

func (s *Service) checkShard(shards []*shard, next Shard) error {
	switch {
	case next.Tree == nil:
		return errors.New("no tree given")
	case next.Tree.ID() <= 0:
		return fmt.Errorf("tree ID %d is not positive", next.Tree.ID())
	}
	for _, other := range shards {
		if other.ID() == next.Tree.ID() {
			return fmt.Errorf("tree %d is another shard's", next.Tree.ID())
		}
	}
	return s.checkKey(shards, next.Signer)
}

// CheckKey reports whether a key can be that of the next shard.
func (s *Service) CheckKey(key keys.Key) error { return s.checkKey(*s.shards.Load(), key) }

func (s *Service) checkKey(shards []*shard, key keys.Key) error {
	if key.Signer == nil {
		return errors.New("no signer given")
	}
	if pub, ok := key.Public().(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() {
		return fmt.Errorf("key %s is not ECDSA P-256, which every client demands", key.Name)
	}
	if now := s.cfg.Now(); key.Created.After(now) {
		return fmt.Errorf("key %s is from the future: made %v, the clock says %v", key.Name, key.Created, now)
	}
	for _, other := range shards {
		if string(other.signer.SPKI()) == string(key.SPKI()) {
			return fmt.Errorf("key %s is that of another shard, %s: each needs one of its own", key.Name, other.signer.Name)
		}
	}
	return nil
}

// Succeed makes next the shard that takes entries. freeze does so in storage, in
// one commit, and returns when the head of the tree so far is its last. Entries
// that are proposed meanwhile wait; each ends in one of the two. If freeze fails
// nothing has changed.
func (s *Service) Succeed(next Shard, freeze func() error) error {
	s.succession.Lock()
	defer s.succession.Unlock()
	shards := *s.shards.Load()
	if err := s.checkShard(shards, next); err != nil {
		return fmt.Errorf("next shard: %w", err)
	}
	if err := freeze(); err != nil {
		return fmt.Errorf("next shard: %w", err)
	}
	after, err := s.follow(shards, next)
	if err != nil {
		return fmt.Errorf("next shard: %w", err)
	}
	s.shards.Store(&after)
	return nil
}

// active is the shard that takes entries.
func (s *Service) active() *shard {
	shards := *s.shards.Load()
	return shards[len(shards)-1]
}

// activeAfter waits for a succession under way, and returns the shard that takes
// entries in place of one that does no more, or ok false if that is the same.
func (s *Service) activeAfter(frozen *shard) (next *shard, ok bool) {
	s.succession.Lock()
	defer s.succession.Unlock()
	next = s.active()
	return next, next != frozen
}

// shardOf returns the shard with that tree, of 0 the one that takes entries; nil
// if there is none.
func (s *Service) shardOf(treeID int64) *shard {
	if treeID == 0 {
		return s.active()
	}
	for _, sh := range *s.shards.Load() {
		if sh.ID() == treeID {
			return sh
		}
	}
	return nil
}

// TreeID is the ID of the tree that takes new entries, positive.
func (s *Service) TreeID() int64 { return s.active().ID() }

// PublicKey returns the DER SubjectPublicKeyInfo of the key that signs for a tree,
// 0 being the one that takes entries. An unknown tree is fault.Invalid.
func (s *Service) PublicKey(treeID int64) ([]byte, error) {
	sh := s.shardOf(treeID)
	if sh == nil {
		return nil, fault.New(fault.Invalid, "no such tree")
	}
	return sh.signer.SPKI(), nil
}

// ShardHead is a shard and its newest checkpoint; of an empty tree, too.
type ShardHead struct {
	TreeID int64
	Checkpoint
}

// Heads returns the newest checkpoint of each shard, the oldest first. The last
// one takes entries; those of the others never change.
func (s *Service) Heads(ctx context.Context) ([]ShardHead, error) {
	var heads []ShardHead
	for _, sh := range *s.shards.Load() {
		c, err := sh.newest(ctx)
		if err != nil {
			return nil, err
		}
		heads = append(heads, ShardHead{sh.ID(), c})
	}
	return heads, nil
}
