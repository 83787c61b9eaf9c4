package dexstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errTurn is answered to an update whose turn did not come in time.
var errTurn = errors.New("another update of the row did not end in time")

// turnTaker lets updates of one row run one after the other.
type turnTaker interface {
	take(ctx context.Context, key string, limit time.Duration) (done func(), err error)
}

// turns lets the updates of one row run one after the other, in the order of
// arrival. Updates take turns, rather than being retried on conflict, because
// Dex's updater for refresh tokens asks the upstream provider, which may accept
// each of its tokens once only.
type turns struct {
	mu   sync.Mutex
	rows map[string]*turn // rows being updated or waited for
}

type turn struct {
	taken chan struct{} // holds one value while an update runs
	users int           // running and waiting; guarded by turns.mu
}

func newTurns() *turns { return &turns{rows: map[string]*turn{}} }

// take waits until no other update of the row runs, at most for the given time
// and as long as ctx lives. Whoever took a turn must call done. An update that
// its own updater starts on the same row waits in vain and gets the error.
func (t *turns) take(ctx context.Context, key string, limit time.Duration) (done func(), err error) {
	row := t.join(key)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case row.taken <- struct{}{}:
		return func() { <-row.taken; t.leave(key, row) }, nil
	case <-ctx.Done():
		err = fmt.Errorf("wait for row: %w", ctx.Err())
	case <-timer.C:
		err = errTurn
	}
	t.leave(key, row)
	return nil, err
}

func (t *turns) join(key string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	row := t.rows[key]
	if row == nil {
		row = &turn{taken: make(chan struct{}, 1)}
		t.rows[key] = row
	}
	row.users++
	return row
}

func (t *turns) leave(key string, row *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if row.users--; row.users == 0 {
		delete(t.rows, key)
	}
}
