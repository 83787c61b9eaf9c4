package stack

import (
	"context"
	"errors"
	"fmt"
)

// later runs components that are only found while the stack runs: trees of further
// shards, watches over further keys.
type later struct {
	starting chan component
	stopped  chan struct{} // closed: nothing is started any more
}

func newLater() *later {
	return &later{starting: make(chan component), stopped: make(chan struct{})}
}

// run runs what start is given, until ctx ends or one of them fails.
func (l *later) run(ctx context.Context) error {
	defer close(l.stopped)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error)
	running := 0
	for {
		select {
		case c := <-l.starting:
			running++
			go func() {
				err := c.run(ctx)
				if err == nil && ctx.Err() == nil {
					err = errors.New("ended by itself")
				}
				if err != nil {
					err = fmt.Errorf("%s: %w", c.name, err)
				}
				ended <- err
			}()
			continue
		case err := <-ended:
			running--
			cancel()
			return errors.Join(err, drain(ended, running))
		case <-ctx.Done():
		}
		cancel()
		return drain(ended, running)
	}
}

// start runs c besides, unless the stack stops.
func (l *later) start(c component) bool {
	select {
	case l.starting <- c:
		return true
	case <-l.stopped:
		return false
	}
}

// drain collects the ends of so many.
func drain(ended <-chan error, running int) (err error) {
	for range running {
		err = errors.Join(err, <-ended)
	}
	return err
}
