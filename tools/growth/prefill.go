package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
	"sigstack/internal/stack"
	"sigstack/services/tlog"
	"sigstack/services/tlog/entry"
)

// writers is how many entries are on their way at once: a batch is what queued
// while the one before was being committed.
const writers = 512

// prefill fills the log of a data directory, which no process may have open, up to
// size entries: each a hashedrekord as keyless signing makes them, checked and
// stored, searchable, on the way that proposed entries take.
func prefill(ctx context.Context, dir string, size uint64, out io.Writer) (err error) {
	layout := stack.Layout{Dir: dir}
	conf, err := config.Load(layout.Config())
	if err != nil {
		return err
	}
	if conf.TLog == nil {
		return fmt.Errorf("%s has no transparency log", dir)
	}
	store, err := pebblelog.Open(layout.LogDB(), pebblelog.Options{Now: time.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	tree, err := merkle.Open(ctx, merkle.Config{
		Storage: store, TreeID: conf.TLog.TreeID, Now: time.Now, HeadFile: layout.Head("tlog"),
	})
	if err != nil {
		return err
	}
	return running(ctx, tree, func(ctx context.Context) error { return fill(ctx, tree, conf, size, out) })
}

// running calls f while the tree takes entries.
func running(ctx context.Context, tree *merkle.Tree, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- tree.Run(ctx)
		cancel() // f is not answered any more
	}()
	err := f(ctx)
	cancel()
	return errors.Join(err, <-done)
}

// fill adds entries until the tree of a configured stack has size.
func fill(ctx context.Context, tree *merkle.Tree, conf *config.Config, size uint64, out io.Writer) error {
	f, err := newFiller(tree, conf.URL, conf.Host())
	if err != nil {
		return err
	}
	return f.fill(ctx, size, out)
}

// filler adds entries to a log, on the way that proposed ones take, without HTTP.
type filler struct {
	tree    *merkle.Tree
	service *tlog.Service
	parser  entry.Parser
	signers []signer
}

// newFiller makes a filler. The log's own key is not needed: what it signs is answered,
// not stored.
func newFiller(tree *merkle.Tree, url, host string) (*filler, error) {
	key, err := keys.Ephemeral("prefill", keys.ECDSAP256, time.Now())
	if err != nil {
		return nil, err
	}
	f := &filler{tree: tree, parser: entry.Parser{
		Types: entry.Types{{Kind: "hashedrekord", Version: "0.0.1"}: entry.HashedRekord}, Algorithms: entry.DefaultAlgorithms(),
	}}
	if f.service, err = tlog.New(tlog.Config{
		Shard: tlog.Shard{Tree: tree, Signer: key}, URL: url, Host: host, Now: time.Now,
		Log: slog.New(slog.DiscardHandler), AddTimeout: time.Minute,
	}); err != nil {
		return nil, err
	}
	f.signers, err = newSigners()
	return f, err
}

// fill adds entries until the tree has size.
func (f *filler) fill(ctx context.Context, size uint64, out io.Writer) error {
	first, start := f.tree.Head().Size, time.Now()
	if first >= size {
		return nil
	}
	progress := func(done uint64) {
		_, _ = fmt.Fprintf(out, "%d entries, %.0f per second\n", first+done, float64(done)/time.Since(start).Seconds()) // for who watches
	}
	return atOnce(ctx, writers, size-first, progress, func(ctx context.Context, i uint64) error {
		proposal, err := propose(f.signers, first+i)
		if err != nil {
			return err
		}
		if err := f.add(ctx, proposal); err != nil {
			return fmt.Errorf("entry %d: %w", first+i, err)
		}
		return nil
	})
}

// add checks a proposal, has it logged and signs the answer.
func (f *filler) add(ctx context.Context, proposal []byte) error {
	e, err := f.parser.Parse(proposal)
	if err != nil {
		return err
	}
	_, _, err = f.service.Add(ctx, e.Body, e.Terms(), nil)
	return err
}

// atOnce calls do for every number below n from so many goroutines, until one
// fails, and tells now and then how many are done.
func atOnce(ctx context.Context, goroutines int, n uint64, tell func(done uint64), do func(context.Context, uint64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Uint64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < n && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
				if d := done.Add(1); d%100_000 == 0 || d == n {
					tell(d)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
