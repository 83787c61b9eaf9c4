package release

import (
	"context"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// defaultWorkers is how many files are worked on at once where the caller does
// not say. Signing waits for the services, so it is more than there are CPUs.
const defaultWorkers = 16

// Progress says how far a run is. Bytes count the files that are done.
type Progress struct {
	Done, Total       int
	Bytes, TotalBytes int64
	Path              string // the file just done
}

// each calls do for every file from workers goroutines, and progress, one call
// at a time, after each that succeeded. The first error ends it.
func each(ctx context.Context, files []file, workers int, progress func(Progress), do func(context.Context, int, file) error) error {
	if workers <= 0 {
		workers = defaultWorkers
	}
	var mu sync.Mutex // guards p and the calls of progress
	p := Progress{Total: len(files)}
	for _, f := range files {
		p.TotalBytes += f.size
	}
	// Few goroutines for many files: each grows its stack once.
	var next atomic.Int64
	g, workCtx := errgroup.WithContext(ctx)
	for range min(workers, len(files)) {
		g.Go(func() error {
			for workCtx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(files) {
					return nil
				}
				if err := do(workCtx, i, files[i]); err != nil {
					return err
				}
				mu.Lock()
				p.Done, p.Bytes, p.Path = p.Done+1, p.Bytes+files[i].size, files[i].path
				if progress != nil {
					progress(p)
				}
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err() // the caller's: the group's own context has ended by now
}
