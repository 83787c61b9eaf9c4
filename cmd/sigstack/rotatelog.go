package main

import (
	"context"
	"fmt"
	"time"

	"sigstack/internal/rotate"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

// logSteps exchange the key of the transparency log, by a shard that takes the entries
// from then on. The one before stays in trust material for ever, with its window open.
func (r *rotating) logSteps() []rotate.Step {
	return r.withEnd([]rotate.Step{
		{
			Name: "publish", Does: "make the next shard of the log, and publish its key",
			Did: r.shardPublished, Do: r.publishShard,
		},
		{
			Name: "switch", Does: "freeze the shard that takes entries, and let the next one take them",
			From: distributed, Did: r.shardActive,
			Do: func(ctx context.Context, _ rotate.Facts) error {
				return r.act(ctx, func(ctx context.Context, c shardChannel) error {
					return c.Post(ctx, stack.AdminShardActivate, nil, nil)
				})
			},
		},
	})
}

// distributed is when what was published is with every client.
func distributed(f rotate.Facts) (time.Time, error) { return f.Time("distributed") }

// shards are those of the log.
func (r *rotating) shards(ctx context.Context) (list stack.ShardList, err error) {
	return list, r.act(ctx, func(ctx context.Context, c shardChannel) error { list, err = c.list(ctx); return err })
}

// shardPublished finds the shard that was published and takes no entries yet.
func (r *rotating) shardPublished(ctx context.Context, f rotate.Facts) (bool, error) {
	list, err := r.shards(ctx)
	if err != nil {
		return false, err
	}
	for _, s := range list.Shards {
		if known := f["shard"] == s.Name && !s.Published.IsZero(); known || s.State == stack.ShardPrepared {
			f["shard"], f["key"], f["log_id"] = s.Name, s.Key, s.LogID
			f.SetTime("distributed", s.Distributed)
			return true, nil
		}
	}
	return false, nil
}

func (r *rotating) publishShard(ctx context.Context, f rotate.Facts) error {
	err := r.act(ctx, func(ctx context.Context, c shardChannel) error {
		var draft stack.ShardDraft
		if err := c.Post(ctx, stack.AdminShardPrepare, stack.ShardOrder{URI: f["key_uri"], Create: r.f.create}, &draft); err != nil {
			return err
		}
		signed, err := r.signer.sign(ctx, c, targetsDraft{
			What:    "publish the key of log shard " + draft.Shard.Name + ", log ID " + draft.Shard.LogID,
			Targets: draft.Targets,
			Approve: func(change tufroot.Change) error { return draft.Approve(change, r.a.now()) },
		})
		if err != nil {
			return err
		}
		f["shard"] = draft.Shard.Name
		return c.Post(ctx, stack.AdminShardPublish, r.signer.publication(signed), nil)
	})
	if err != nil {
		return err
	}
	return found(r.shardPublished(ctx, f))
}

// found demands what a step has made.
func found(is bool, err error) error {
	if err == nil && !is {
		err = fmt.Errorf("the stack does not have what was just published")
	}
	return err
}

func (r *rotating) shardActive(ctx context.Context, f rotate.Facts) (bool, error) {
	list, err := r.shards(ctx)
	if err != nil {
		return false, err
	}
	for _, s := range list.Shards {
		if s.Name == f["shard"] {
			return s.State == stack.ShardActive || s.State == stack.ShardFrozen, nil
		}
	}
	return false, fmt.Errorf("shard %s of this rotation is not there any more", f["shard"])
}
