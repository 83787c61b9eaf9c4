package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// A CT log is added in three steps, none of which a crash leaves half done: its key
// and tree are made, an operator puts it into config.yaml, and it is published.
// Nothing serves the directory meanwhile. It takes certificates that end from a
// moment on by which every client knows its key.

// PrepareCTLog makes the key and the tree of a further CT log, or finds those that an
// earlier try has made, and returns what belongs into ctlog.shards.
func (s *Stack) PrepareCTLog(ctx context.Context, shard config.CTShard) (config.CTShard, error) {
	switch {
	case s.conf.Peers != nil:
		return shard, errors.New("this directory is one process of a split stack: a CT log is added before `sigstack split`")
	case s.conf.CTLog == nil || s.repo == nil:
		return shard, errors.New("sections ctlog and tuf of config.yaml are needed: this directory has no CT log, or publishes nothing")
	}
	from, _ := shard.Range()
	if known := s.distributed(s.repo, s.opts.Now()); from.Before(known) {
		return shard, fmt.Errorf("the log cannot take certificates that end before %s: until then there are clients that do not know its key", known.UTC().Format(time.RFC3339))
	}
	name := treeCTLog + "-" + shard.Prefix
	shard.Key, shard.TreeID = name, math.MaxInt64 // until it is made
	if err := s.withCTShard(shard).Validate(); err != nil {
		return shard, err
	}
	key, err := s.keys.Load(name)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = s.keys.Create(name, keys.ECDSAP256, s.opts.Now().Add(-backdate))
	}
	if err != nil {
		return shard, err
	}
	if err := key.Test(); err != nil {
		return shard, err
	}
	shard.TreeID, err = merkle.CreateTree(ctx, s.services.store, name)
	if fault.KindOf(err) == fault.Conflict { // an earlier try made it
		shard.TreeID, err = merkle.FindTree(ctx, s.services.store, name)
	}
	return shard, err
}

// withCTShard is the configuration with a further CT log.
func (s *Stack) withCTShard(shard config.CTShard) *config.Config {
	conf, log := *s.conf, *s.conf.CTLog
	log.Shards = append(log.Shards[:len(log.Shards):len(log.Shards)], shard)
	conf.CTLog = &log
	return &conf
}

// PublishCTLogs puts the CT logs of config.yaml that are not published yet into the
// trust material, and returns their IDs in hex. opts opens a directory that nothing
// serves; targets is the key of TUF's targets, which signs that, and nothing else.
func PublishCTLogs(ctx context.Context, opts Options, targets keys.Key) (added []string, err error) {
	opts.unpublished = true
	s, err := Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if s.repo == nil || s.conf.Peers != nil {
		return nil, errors.New("this directory does not publish by itself: a CT log is added before `sigstack split`")
	}
	material := s.material()
	if err := material.Validate(); err != nil {
		return nil, err
	}
	all, err := material.Targets(s.opts.Now())
	if err != nil {
		return nil, err
	}
	draft, err := s.repo.DraftTargets(all)
	if err != nil {
		return nil, err
	}
	change, err := tufroot.Review(s.layout.TUF(), draft, targets)
	if err != nil {
		return nil, err
	}
	if added, err = addsCTLogs(change); err != nil {
		return nil, fmt.Errorf("nothing was signed: %w", err)
	}
	signed, err := tufroot.SignTargets(draft, targets)
	if err != nil {
		return nil, err
	}
	if err := s.repo.PublishSigned(signed, all, s.online); err != nil {
		return nil, err
	}
	return added, s.writeKit(s.repo)
}

// addsCTLogs demands that a change adds CT logs to the trusted root, and nothing
// else, and returns their IDs. Their files for older clients change with them.
func addsCTLogs(c tufroot.Change) ([]string, error) {
	before, ok := c.Before[trust.TrustedRootName]
	if !ok {
		return nil, errors.New("every CT log of config.yaml is published already")
	}
	for _, side := range []map[string]tufroot.ReviewedTarget{c.Before, c.After} {
		for name, t := range side {
			if name != trust.TrustedRootName && !isCTKey(t) {
				return nil, fmt.Errorf("target %s would be changed or taken away, too", name)
			}
		}
	}
	old, oldLogs, err := splitOff(before.Data, "ctlogs")
	if err != nil {
		return nil, err
	}
	now, logs, err := splitOff(c.After[trust.TrustedRootName].Data, "ctlogs")
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(old, now) {
		return nil, errors.New("more than the CT logs would be changed: other keys or chains are not the published ones")
	}
	var added []string
	for _, log := range logs {
		if i := indexOf(oldLogs, log); i >= 0 {
			oldLogs = append(oldLogs[:i], oldLogs[i+1:]...)
			continue
		}
		id, err := logOf(log)
		if err != nil {
			return nil, err
		}
		added = append(added, id)
	}
	if len(oldLogs) > 0 {
		return nil, errors.New("a published CT log would be changed or taken away: what it has logged would not verify any more")
	}
	return added, nil
}

func indexOf(list []any, x any) int {
	for i := range list {
		if reflect.DeepEqual(list[i], x) {
			return i
		}
	}
	return -1
}

// isCTKey reports whether a target is a CT log's key for older clients.
func isCTKey(t tufroot.ReviewedTarget) bool {
	var custom struct {
		Sigstore struct {
			Usage string `json:"usage"`
		} `json:"sigstore"`
	}
	return json.Unmarshal(t.Custom, &custom) == nil && custom.Sigstore.Usage == "CTFE"
}
