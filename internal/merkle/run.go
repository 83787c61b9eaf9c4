package merkle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Run stands for election, if there is one, and owns the batcher, the refresh of an idle tree's root and the head file. It
// must be called once. When ctx ends it refuses new leaves, commits and answers
// the queued ones, writes the head file and returns nil. It returns an error
// when storage is lost for good: the process should then end, since only
// opening storage anew tells what it holds.
func (t *Tree) Run(ctx context.Context) error {
	if t.running.Swap(true) {
		return fmt.Errorf("tree %d is running already", t.ID())
	}
	stop := make(chan struct{})
	headFile := make(chan error, 1)
	go func() { headFile <- t.keepHeadFile(ctx, stop) }()
	err := t.work(ctx)
	close(stop)
	return errors.Join(err, <-headFile)
}

// work commits batches, if it leads, until ctx ends, and then what is queued.
func (t *Tree) work(ctx context.Context) error {
	if t.cfg.Election != nil {
		return t.stand(ctx)
	}
	defer close(t.stopped)
	// A batch under way is finished even when ctx ends: its callers wait.
	work := context.WithoutCancel(ctx)
	err := t.batches(ctx, work)
	t.close()
	if err != nil {
		return err
	}
	return t.drain(work)
}

// batches commits batches in work until ctx ends or storage is lost. A batch is
// whatever queued while the one before was being committed, and what gather
// waits for.
func (t *Tree) batches(ctx, work context.Context) error {
	refresh, stop := t.refreshTicks()
	defer stop()
	for {
		select {
		case p := <-t.queue:
			t.gather(ctx)
			if err := t.commit(work, p); err != nil {
				return err
			}
		case h := <-t.handing:
			if err := t.handOver(work, h); err != nil {
				return err
			}
		case <-refresh:
			if err := t.refreshRoot(work); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// drain commits what is queued. An Add that slips in behind it sees that the
// tree has stopped.
func (t *Tree) drain(ctx context.Context) error {
	for {
		select {
		case p := <-t.queue:
			if err := t.commit(ctx, p); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// lookEvery bounds the time between two looks at the clock, which may be set, and at
// which timers do not look while a machine sleeps.
const lookEvery = time.Second

// refreshTicks returns at least two ticks per RefreshEvery, or never one.
func (t *Tree) refreshTicks() (ticks <-chan time.Time, stop func()) {
	if t.cfg.RefreshEvery == 0 {
		return nil, func() {}
	}
	ticker := time.NewTicker(max(min(t.cfg.RefreshEvery/2, lookEvery), time.Millisecond))
	return ticker.C, ticker.Stop
}

// refreshRoot makes a new root of the same entries if the newest would pass
// RefreshEvery before the next tick. The error it returns means that storage is
// lost; lesser ones wait for the next tick.
func (t *Tree) refreshRoot(ctx context.Context) error {
	if t.frozen.Load() || t.settled.Load() || wall(t.cfg.Now()).Sub(t.Head().Time) < t.cfg.RefreshEvery/2 {
		return nil
	}
	err := t.refreshState(ctx)
	if err == nil {
		var at time.Time
		if at, err = t.nextTime(); err == nil {
			capture := &batchStorage{LogStorage: t.cfg.Storage, edge: t.edge}
			_, err = t.sequence(ctx, capture, at, time.Nanosecond)
		}
	}
	if err == nil {
		return nil
	}
	t.log.WarnContext(ctx, "refreshing the root failed", slog.Any("error", err))
	return t.fail(ctx, nil, err)
}
