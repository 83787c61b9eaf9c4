package stack

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/trust"
	"sigstack/services/tlog"
	tufroot "sigstack/tuf-root"
)

// logShards are the transparency log's trees and keys.
type logShards struct {
	mu      sync.Mutex
	list    []shardEntry // guarded by mu: the oldest first
	active  int          // guarded by mu: index of the one that takes entries; at most one is behind it
	nextKey keys.Key     // guarded by mu: of the one behind it
	next    *merkle.Tree // guarded by mu: likewise, once it is open; it runs then if the stack does
}

// openShards opens every shard that has taken entries, the oldest first; the last
// one takes them now.
func (b *builder) openShards(ctx context.Context) ([]tlog.Shard, error) {
	further, err := b.layout.readShards()
	if err != nil {
		return nil, err
	}
	s := &logShards{list: allShards(b.conf.TLog, further)}
	if s.active, err = b.activeShard(ctx, s.list); err != nil {
		return nil, err
	}
	b.shards = s
	var shards []tlog.Shard
	for _, e := range s.list[:s.active+1] {
		key, err := b.key(e.Key)
		if err != nil {
			return nil, err
		}
		tree, err := b.openTree(ctx, e.Name, e.TreeID, func(*merkle.Config) {})
		if err != nil {
			return nil, err
		}
		b.run(e.Name+" tree", tree.Run)
		shards = append(shards, tlog.Shard{Tree: tree, Signer: key})
	}
	if s.active+1 < len(s.list) { // it signs nothing yet
		if s.nextKey, err = b.keys.Load(s.list[s.active+1].Key); err != nil {
			return nil, err
		}
	}
	return shards, nil
}

// activeShard returns the index of the one shard whose tree takes entries.
// Preparing and activating leave one such tree and at most one behind it, wherever
// they end; anything else is two directories mixed up.
func (s *Stack) activeShard(ctx context.Context, list []shardEntry) (int, error) {
	active := -1
	store, err := s.services.storage.of(ctx, treeTLog)
	if err != nil {
		return 0, err
	}
	for i, e := range list {
		frozen, err := merkle.IsFrozen(ctx, store, e.TreeID)
		if err != nil {
			return 0, fmt.Errorf("shard %s: %w", e.Name, err)
		}
		if frozen {
			continue
		}
		if active >= 0 {
			return 0, fmt.Errorf("shards %s and %s both take entries: %s does not belong to %s", list[active].Name, e.Name, s.layout.Shards(), s.services.storage)
		}
		active = i
	}
	if active < 0 {
		return 0, fmt.Errorf("no shard of the log takes entries: %s, which names the one that does, is missing or older than %s; restore both from one backup",
			s.layout.Shards(), s.services.storage)
	}
	if active+2 < len(list) || active > 0 && list[active].Published.IsZero() {
		return 0, fmt.Errorf("shard %s takes entries, which cannot be by %s: restore it and %s from one backup", list[active].Name, s.layout.Shards(), s.services.storage)
	}
	return active, nil
}

// has reports whether a key is that of a shard.
func (l *logShards) has(key string) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.list, func(e shardEntry) bool { return e.Key == key })
}

// behind returns the shard that is prepared, or is being so; ok is false without
// one.
func (l *logShards) behind() (e shardEntry, key keys.Key, ok bool) {
	if l == nil {
		return shardEntry{}, keys.Key{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.active+1 >= len(l.list) {
		return shardEntry{}, keys.Key{}, false
	}
	return l.list[l.active+1], l.nextKey, true
}

// setBehind notes the shard that is to come, in place of one of its name.
func (s *Stack) setBehind(e shardEntry, key keys.Key) error {
	l := s.shards
	l.mu.Lock()
	defer l.mu.Unlock()
	list := append(slices.Clone(l.list[:l.active+1]), e)
	if err := s.layout.writeShards(list[1:]); err != nil {
		return err
	}
	l.list, l.nextKey = list, key
	return nil
}

// ahead is what the trust material has of a shard that takes no entries yet.
func (l *logShards) ahead(svc *tlog.Service) []trust.Log {
	e, key, ok := l.behind()
	if !ok || e.Published.IsZero() {
		return nil
	}
	return []trust.Log{svc.TrustIn(key)}
}

// nextIsPublished finds that a publication of the next shard's key was interrupted
// when it was out, but not noted yet. It is noted now.
func (s *Stack) nextIsPublished(repo *tufroot.Repository, published []byte) (bool, error) {
	e, key, ok := s.shards.behind()
	if !ok || !e.Published.IsZero() {
		return false, nil
	}
	live, err := s.materialWith(key).TrustedRoot()
	if err != nil || !bytes.Equal(live, published) {
		return false, err
	}
	e.Published = s.opts.Now().UTC()
	e.Distributed = s.distributed(repo, e.Published)
	return true, s.setBehind(e, key)
}

// materialWith is the material with the key of the next shard.
func (s *Stack) materialWith(key keys.Key) trust.Material {
	m := s.material()
	m.TLogs = append(m.TLogs, s.services.tlog.TrustIn(key))
	return m
}

// TestDistribution is what stands in test stacks for the life of a timestamp:
// their clients are on this machine, and take the kit.
const TestDistribution = 5 * time.Second

// distributed is when what is published at a moment has reached every client.
func (s *Stack) distributed(repo *tufroot.Repository, at time.Time) time.Time {
	if s.test() {
		return at.Add(TestDistribution)
	}
	return repo.Distributed(at).UTC()
}
