package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
)

// The first shard of the transparency log is in config.yaml. shards.json lists
// those after it, the oldest first. Which of them takes entries is not in it: that
// is the one whose tree is not frozen in storage, so that one commit decides
// (docs/decisions/0014-log-shards.md).

// Shards is the file with the shards of the transparency log after the first.
func (l Layout) Shards() string { return filepath.Join(l.Dir, "shards.json") }

// shardsVersion is that of the file's format.
const shardsVersion = 1

// shardEntry is a shard as the file has it.
type shardEntry struct {
	Name   string `json:"name"` // of its tree in storage and of its head file
	Key    string `json:"key"`  // its name in keys/
	TreeID int64  `json:"tree_id,string"`
	// Published is when the key was in the trust material; zero: it may not be yet.
	Published time.Time `json:"published,omitzero"`
	// Distributed is from when on every client has it.
	Distributed time.Time `json:"distributed,omitzero"`
}

type shardFile struct {
	Version int          `json:"version"`
	Shards  []shardEntry `json:"shards"`
}

// decodeShards reads the file and accepts nothing that is not whole.
func decodeShards(data []byte) ([]shardEntry, error) {
	var f shardFile
	if err := decodeStrict(data, &f); err != nil {
		return nil, err
	}
	if f.Version != shardsVersion {
		return nil, fmt.Errorf("version %d, this program reads %d", f.Version, shardsVersion)
	}
	for i, e := range f.Shards {
		switch {
		case e.Name != shardName(i+2):
			return nil, fmt.Errorf("shard %d has the name %q, want %s", i+2, e.Name, shardName(i+2))
		case e.Key == "" || e.TreeID <= 0:
			return nil, fmt.Errorf("shard %s has no key, or no tree", e.Name)
		case e.Published.IsZero() && (i < len(f.Shards)-1 || !e.Distributed.IsZero()):
			return nil, fmt.Errorf("shard %s was not published before the next one, or before it was distributed", e.Name)
		case !e.Published.IsZero() && e.Distributed.Before(e.Published):
			return nil, fmt.Errorf("shard %s was distributed before it was published", e.Name)
		}
	}
	return f.Shards, nil
}

// shardName names the nth shard, 1 being the first.
func shardName(n int) string {
	if n == 1 {
		return treeTLog
	}
	return fmt.Sprintf("%s-%d", treeTLog, n)
}

// readShards reads the shards after the first; none without the file.
func (l Layout) readShards() ([]shardEntry, error) {
	data, err := os.ReadFile(l.Shards())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read shards: %w", err)
	}
	shards, err := decodeShards(data)
	if err != nil {
		return nil, fmt.Errorf("read shards: %s: %w", l.Shards(), err)
	}
	return shards, nil
}

// ShardKeys names the keys of the log's shards after the first.
func (l Layout) ShardKeys() ([]string, error) {
	shards, err := l.readShards()
	var names []string
	for _, e := range shards {
		names = append(names, e.Key)
	}
	return names, err
}

// writeShards replaces the file durably.
func (l Layout) writeShards(shards []shardEntry) error {
	data, err := json.MarshalIndent(shardFile{shardsVersion, shards}, "", "  ")
	if err != nil {
		return fmt.Errorf("write shards: %w", err)
	}
	return durable.WriteFile(l.Shards(), append(data, '\n'), 0o600)
}

// allShards are those of the file behind the first one, which is published as long
// as there is a trust root.
func allShards(conf *config.TLog, further []shardEntry) []shardEntry {
	return append([]shardEntry{{Name: treeTLog, Key: conf.Key, TreeID: conf.TreeID}}, further...)
}
