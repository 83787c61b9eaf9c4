package tlogtest

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// shardInfo is how the log describes one of its trees.
type shardInfo struct {
	RootHash       string `json:"rootHash"`
	SignedTreeHead string `json:"signedTreeHead"`
	TreeID         string `json:"treeID"`
	TreeSize       uint64 `json:"treeSize"`
}

// learn asks for the log's trees: those known stay as they were, with their keys,
// and more may follow.
func (l *Ledger) learn(ctx context.Context, ask Ask) error {
	answer, err := get(ctx, ask, "/api/v1/log")
	if err != nil {
		return err
	}
	var info struct {
		InactiveShards []shardInfo `json:"inactiveShards"`
		shardInfo
	}
	if err := json.Unmarshal(answer, &info); err != nil {
		return fmt.Errorf("decode log info: %w", err)
	}
	shards := append(info.InactiveShards, info.shardInfo)
	if len(shards) < len(l.trees) {
		return fmt.Errorf("%w: it has %d trees, had %d", ErrFork, len(shards), len(l.trees))
	}
	first := uint64(0)
	for i, s := range shards {
		if err := l.learnTree(ctx, ask, i, s, first, i+1 < len(shards)); err != nil {
			return err
		}
		first += s.TreeSize
	}
	return nil
}

func (l *Ledger) learnTree(ctx context.Context, ask Ask, i int, s shardInfo, first uint64, retired bool) error {
	log, err := l.describe(ctx, ask, s, first)
	if err != nil {
		return err
	}
	if i == len(l.trees) {
		l.trees = append(l.trees, log)
	}
	if old := l.trees[i]; old.TreeID != log.TreeID || old.First != log.First || !bytes.Equal(old.Key, log.Key) {
		return fmt.Errorf("%w: tree %d was %d from index %d, is %d from %d, or has another key", ErrFork, i, old.TreeID, old.First, log.TreeID, log.First)
	}
	head, err := log.CheckCheckpoint(s.SignedTreeHead)
	if err != nil {
		return err
	}
	if head.Size != s.TreeSize || fmt.Sprintf("%x", head.Root) != s.RootHash {
		return fmt.Errorf("log info of tree %s says %d, %s, its checkpoint %d, %x", s.TreeID, s.TreeSize, s.RootHash, head.Size, head.Root)
	}
	line := l.line(log.TreeID)
	if line.retired && (head.Size != line.newest.Size || !retired) {
		return fmt.Errorf("%w: tree %d was frozen with %d entries, has %d", ErrFork, log.TreeID, line.newest.Size, head.Size)
	}
	line.newest, line.retired = head, retired
	return l.see(log.TreeID, head)
}

func (l *Ledger) describe(ctx context.Context, ask Ask, s shardInfo, first uint64) (Log, error) {
	id, err := strconv.ParseInt(s.TreeID, 10, 64)
	if err != nil {
		return Log{}, fmt.Errorf("tree ID: %w", err)
	}
	key, err := get(ctx, ask, "/api/v1/log/publicKey?treeID="+s.TreeID)
	if err != nil {
		return Log{}, err
	}
	block, _ := pem.Decode(key)
	if block == nil {
		return Log{}, fmt.Errorf("key of tree %d is not PEM: %q", id, key)
	}
	return Log{Host: l.Host, TreeID: id, Key: block.Bytes, First: first}, nil
}

// link demands that each head of each tree extends the one before it by size, so
// that every one extends every smaller one, and that the newest is the largest.
func (l *Ledger) link(ctx context.Context, ask Ask) (proofs int, err error) {
	for id, line := range l.heads {
		sizes := slices.Sorted(maps.Keys(line.bySize))
		if largest := sizes[len(sizes)-1]; largest > line.newest.Size {
			return proofs, fmt.Errorf("%w: tree %d showed a checkpoint of %d entries, has %d now", ErrLost, id, largest, line.newest.Size)
		}
		for i, second := range sizes {
			if i == 0 || sizes[i-1] == 0 || line.proved[[2]uint64{sizes[i-1], second}] {
				continue // everything extends the empty tree
			}
			if err := l.linkPair(ctx, ask, id, line.bySize[sizes[i-1]], line.bySize[second]); err != nil {
				return proofs, err
			}
			line.proved[[2]uint64{sizes[i-1], second}] = true
			proofs++
		}
	}
	return proofs, nil
}

func (l *Ledger) linkPair(ctx context.Context, ask Ask, tree int64, older, newer Head) error {
	answer, err := get(ctx, ask, fmt.Sprintf("/api/v1/log/proof?firstSize=%d&lastSize=%d&treeID=%d", older.Size, newer.Size, tree))
	if err != nil {
		return err
	}
	var p struct {
		Hashes []string `json:"hashes"`
	}
	if err := json.Unmarshal(answer, &p); err != nil {
		return fmt.Errorf("decode consistency proof: %w", err)
	}
	hashes, err := decodeHashes(p.Hashes)
	if err != nil {
		return err
	}
	if err := CheckConsistency(older.Size, newer.Size, older.Root, newer.Root, hashes); err != nil {
		return fmt.Errorf("%w: tree %d of %d entries does not extend itself of %d: %w", ErrFork, tree, newer.Size, older.Size, err)
	}
	return nil
}

// get asks for what must be there.
func get(ctx context.Context, ask Ask, path string) ([]byte, error) {
	status, answer, err := ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d %s", path, status, answer)
	}
	return answer, nil
}
