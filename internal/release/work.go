package release

import (
	"context"
	"sync"

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
	g, workCtx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i, f := range files {
		if workCtx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := do(workCtx, i, f); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			p.Done, p.Bytes, p.Path = p.Done+1, p.Bytes+f.size, f.path
			if progress != nil {
				progress(p)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err() // the caller's: the group's own context has ended by now
}
