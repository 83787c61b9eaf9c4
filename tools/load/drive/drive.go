// Package drive runs one operation over and over, from many goroutines, and
// counts: how many succeeded, how long each took, and what went wrong. What an
// operation is, and whether its answer is right, others decide.
package drive

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Call is one operation, prepared. Send is what is timed: from the request to the
// last byte of the answer. Verify judges the answer afterwards.
type Call struct {
	Send   func(ctx context.Context) error
	Verify func() error
}

// Config says what to run. Prepare makes one Call after the other, concurrently.
// An error of its own ends the run.
type Config struct {
	Prepare func(ctx context.Context) (Call, error)
	KindOf  func(err error) string // from a small set

	Concurrency int           // goroutines, each with one operation at a time; at least 1
	Count       int64         // operations in all; 0: until Duration ends
	Duration    time.Duration // after which none is begun; 0: until Count is reached
	WarmUp      time.Duration // before, not counted; its errors are
	Timeout     time.Duration // of one operation; 0: none

	Measured func()                 // called when the warm-up is over; may be nil
	Progress func(ok, errors int64) // called every Every; may be nil
	Every    time.Duration          // of Progress
	Now      func() time.Time       // a monotonic clock
}

// Result is what a run came to. Sums of times are over all goroutines.
type Result struct {
	Operations  int64         // that succeeded and were counted
	Elapsed     time.Duration // from the end of the warm-up to the last answer
	Interrupted bool          // by the context
	Latency     *Histogram    // of those operations
	Errors      Errors
	Preparing   time.Duration // requests, keys and signatures
	Verifying   time.Duration // answers
}

// Run runs until count or duration is reached, or ctx ends; what is under way then
// is given up and not counted. The error is Prepare's.
func Run(ctx context.Context, c Config) (Result, error) {
	if c.Concurrency < 1 || (c.Count <= 0) == (c.Duration <= 0) {
		return Result{}, errors.New("run: give a concurrency and either a count or a duration")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &run{Config: c, latency: &Histogram{}, fail: cancel}
	r.start()
	stopped := make(chan struct{})
	var watch sync.WaitGroup
	if c.Progress != nil {
		watch.Go(func() { r.report(stopped) })
	}
	var workers sync.WaitGroup
	for range c.Concurrency {
		workers.Go(func() { r.work(ctx) })
	}
	workers.Wait()
	r.measure.Do(r.measured) // of a run that ended in its warm-up
	end := c.Now()
	close(stopped)
	watch.Wait()
	result := Result{
		Operations: r.ok.Load(), Elapsed: end.Sub(r.measuredAt), Interrupted: ctx.Err() != nil, Latency: r.latency,
		Errors: r.errors.list(), Preparing: time.Duration(r.preparing.Load()), Verifying: time.Duration(r.verifying.Load()),
	}
	var failed *prepareError
	if errors.As(context.Cause(ctx), &failed) {
		return result, failed.err
	}
	return result, nil
}

// prepareError is why a run ended itself.
type prepareError struct{ err error }

func (e *prepareError) Error() string { return e.err.Error() }

// run is the state of a Run.
type run struct {
	Config

	begin      time.Time
	measure    sync.Once
	measuredAt time.Time // set by measure
	fail       context.CancelCauseFunc

	begun                atomic.Int64 // operations after the warm-up
	ok                   atomic.Int64
	preparing, verifying atomic.Int64 // ns
	latency              *Histogram
	errors               errorCounts
}

func (r *run) start() {
	r.begin = r.Now()
	if r.WarmUp == 0 {
		r.measure.Do(r.measured)
	}
}

func (r *run) measured() {
	if r.Measured != nil {
		r.Measured()
	}
	r.measuredAt = r.Now()
}

// work runs operations until none is to be begun.
func (r *run) work(ctx context.Context) {
	for ctx.Err() == nil {
		counted := r.Now().Sub(r.begin) >= r.WarmUp
		if counted {
			r.measure.Do(r.measured)
			if r.Duration > 0 && r.Now().Sub(r.measuredAt) >= r.Duration {
				return
			}
			if r.begun.Add(1) > r.Count && r.Count > 0 {
				return
			}
		}
		r.one(ctx, counted)
	}
}

func (r *run) one(ctx context.Context, counted bool) {
	begin := r.Now()
	call, err := r.Prepare(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.fail(&prepareError{err})
		}
		return
	}
	sent := r.Now()
	err = r.send(ctx, call)
	answered := r.Now()
	if err == nil {
		err = call.Verify()
	}
	verified := r.Now()
	switch {
	case err != nil && ctx.Err() != nil: // given up
	case err != nil:
		r.errors.add(r.KindOf(err), err)
	case counted:
		r.ok.Add(1)
		r.latency.Add(answered.Sub(sent))
		r.preparing.Add(int64(sent.Sub(begin)))
		r.verifying.Add(int64(verified.Sub(answered)))
	}
}

func (r *run) send(ctx context.Context, call Call) error {
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	return call.Send(ctx)
}

// report calls Progress until the workers have stopped.
func (r *run) report(stopped <-chan struct{}) {
	ticker := time.NewTicker(r.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.Progress(r.ok.Load(), r.errors.total())
		case <-stopped:
			return
		}
	}
}
