package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/fault"
	"sigstack/internal/merkle/fsck"
)

// AdminReindex makes the search index of the log again. POST begins, GET tells how
// far it is: Reindex.
const AdminReindex = "/v1/log/reindex"

// Reindex is how far a new search index is.
type Reindex struct {
	Running bool             `json:"running"`
	Step    string           `json:"step,omitempty"`
	Done    uint64           `json:"done"`
	Total   uint64           `json:"total"`           // 0: not known
	Logs    []fsck.Reindexed `json:"logs"`            // those that are through
	Error   string           `json:"error,omitempty"` // why the latest one failed
}

// Failed says what is wrong after the end, nil if nothing is.
func (r Reindex) Failed() error {
	if r.Error != "" {
		return errors.New(r.Error)
	}
	for _, l := range r.Logs {
		if l.DamagedCount > 0 {
			return fmt.Errorf("%s: %d entries are damaged, the first of them %d; their rows were left alone: sigstack log fsck tells more", l.Name, l.DamagedCount, l.Damaged[0])
		}
	}
	return nil
}

// ReindexStopped makes the search index of a stopped directory's log again. The
// error matches durable.ErrLocked if it is served.
func ReindexStopped(ctx context.Context, dir string, now func() time.Time, progress func(step string, done, total uint64)) (r Reindex, err error) {
	l := Layout{dir}
	conf, err := config.Load(l.Config())
	if err != nil {
		return r, err
	}
	lock, err := durable.LockDir(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	store, err := l.openStorage(conf, now, nil)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	r.Logs, err = l.reindex(ctx, conf, store, progress)
	return r, err
}

// reindex does so for every shard.
func (l Layout) reindex(ctx context.Context, conf *config.Config, store *storage, progress func(step string, done, total uint64)) ([]fsck.Reindexed, error) {
	logs := []fsck.Reindexed{}
	trees, err := l.checkedTrees(conf)
	if err != nil {
		return logs, err
	}
	for _, t := range trees {
		if t.Service == nil {
			continue
		}
		done, err := store.reindex(ctx, t, progress)
		logs = append(logs, done)
		if err != nil {
			return logs, err
		}
	}
	if len(logs) == 0 {
		return logs, fmt.Errorf("the stack in %s has no transparency log: name the directory of the process that has", l.Dir)
	}
	return logs, nil
}

// reindexing is the one of a served log.
type reindexing struct {
	orders chan struct{}
	mu     sync.Mutex
	state  Reindex // guarded by mu
}

func newReindexing() *reindexing {
	return &reindexing{orders: make(chan struct{}, 1), state: Reindex{Logs: []fsck.Reindexed{}}}
}

func (r *reindexing) get() Reindex {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

func (r *reindexing) progress(step string, done, total uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Step, r.state.Done, r.state.Total = step, done, total
}

// begin orders one, unless one runs.
func (r *reindexing) begin() (Reindex, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state.Running {
		return r.state, fault.New(fault.Conflict, "the search index is being made again already")
	}
	r.state = Reindex{Running: true, Logs: []fsck.Reindexed{}}
	r.orders <- struct{}{} // there is room: the one before has ended
	return r.state, nil
}

func (r *reindexing) end(logs []fsck.Reindexed, err error) Reindex {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = Reindex{Logs: logs}
	if err != nil {
		r.state.Error = err.Error()
	}
	return r.state
}

func (s *Stack) handleReindex(a *admin.Server) {
	a.Handle(http.MethodGet, AdminReindex, "", func(context.Context, *http.Request) (any, error) {
		if s.services.reindexing == nil {
			return nil, fault.New(fault.NotFound, "this process has no transparency log")
		}
		return s.services.reindexing.get(), nil
	})
	a.Handle(http.MethodPost, AdminReindex, "log-reindex", func(context.Context, *http.Request) (any, error) {
		if s.services.reindexing == nil {
			return nil, fault.New(fault.NotFound, "this process has no transparency log")
		}
		return s.services.reindexing.begin()
	})
}

// runReindex carries out orders, one after the other, until ctx ends. One that is
// cut short leaves an index that is no worse than before.
func (s *Stack) runReindex(ctx context.Context) error {
	r := s.services.reindexing
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.orders:
		}
		logs, err := s.layout.reindex(ctx, s.conf, s.services.storage, r.progress)
		if ctx.Err() != nil {
			return nil
		}
		act := admin.Act{Name: "log-reindex-end", Outcome: admin.OutcomeOK, By: "log-reindex", Detail: map[string]string{}}
		for _, l := range logs {
			act.Detail[l.Name] = fmt.Sprintf("%d entries, %d rows written, %d removed, %d entries damaged", l.Entries, l.Written, l.Removed, l.DamagedCount)
		}
		if err != nil {
			act.Outcome, act.Detail["error"] = admin.OutcomeFailed, err.Error()
		}
		if recordErr := s.recordAct(ctx, act); recordErr != nil {
			s.opts.Log.ErrorContext(ctx, "end of a reindex cannot be recorded", slog.Any("error", recordErr))
		}
		r.end(logs, err)
	}
}

// Details are for the audit record.
func (r Reindex) Details() map[string]string {
	return map[string]string{"running": strconv.FormatBool(r.Running)}
}
