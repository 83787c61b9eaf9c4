package merkle

import (
	"time"

	"github.com/google/trillian/util/clock"

	"sigstack/internal/fault"
)

// maxBackstep is how far the clock may lie behind the newest root while entries
// are still accepted. An entry stamped further in the future than that could
// miss the ten minutes of its certificate: signed now, never to be verified.
const maxBackstep = 5 * time.Second

// nextTime returns the time of the next root: now, or one step after the newest
// root if the clock has not passed that.
func (t *Tree) nextTime() (time.Time, error) {
	now, last, step := wall(t.cfg.Now()), t.Head().Time, t.cfg.TimeStep
	if at := now.Truncate(step); at.After(last) {
		return at, nil
	}
	if behind := last.Sub(now); behind > maxBackstep {
		return time.Time{}, fault.Newf(fault.Unavailable,
			"the log's clock is %v behind its newest entry; nothing is accepted until the clock has caught up",
			behind.Truncate(time.Millisecond))
	}
	return last.Truncate(step).Add(step), nil
}

// pace waits, at most one step, for the clock to reach at. It keeps a tree with
// coarse root times, a CT tree, from running ahead of the clock when commits
// are quicker than steps; other trees never wait.
func (t *Tree) pace(at time.Time) {
	if t.cfg.TimeStep >= time.Millisecond {
		time.Sleep(min(at.Sub(wall(t.cfg.Now())), t.cfg.TimeStep))
	}
}

// wall strips the zone and the monotonic reading, which storage cannot keep.
func wall(t time.Time) time.Time { return time.Unix(0, t.UnixNano()).UTC() }

// fixedTime makes root and leaves of one batch agree on the time.
type fixedTime struct {
	clock.TimeSource
	at time.Time
}

func (f fixedTime) Now() time.Time { return f.at }
