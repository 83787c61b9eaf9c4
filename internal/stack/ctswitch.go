package stack

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/services/ctlog"
)

// How long a change of CT logs waits for what is under way.
const (
	ctDrain  = 6 * time.Second // for certificates, whose timestamps take less
	ctFreeze = 5 * time.Second // for a last tree head; it is tried again
)

// switchCT lets the CA go over to other CT logs between two certificates: new ones are
// there before, and those that close do so when nothing under way needs them. A log
// that cannot be frozen at once is closed, and frozen later.
func (s *Stack) switchCT(p *reloadPlan) error {
	if p.ct == nil {
		return nil
	}
	s.mountCT(p.ct.added)
	if err := s.turnCT(p, false); err != nil {
		return err
	}
	if err := s.goOverCT(p.ct.asked); err != nil {
		return err
	}
	if err := s.turnCT(p, true); err != nil {
		return err
	}
	s.freezeCT(p)
	if s.repo == nil {
		return nil
	}
	if err := s.writeKit(s.repo); err != nil { // the key of the log in use is in it; the next start writes it
		s.opts.Log.Error("the client kit could not be written", slog.Any("error", err))
	}
	return nil
}

// mountCT serves logs that were opened, and looks after their keys.
func (s *Stack) mountCT(logs []*ownCT) {
	l := s.services.ctlog
	if l == nil {
		return
	}
	var added []*ownCT
	l.mu.Lock()
	for _, log := range logs {
		if byPrefix(l.logs, log.shard.Prefix) == nil {
			added = append(added, log)
		}
	}
	l.logs, l.ready = slices.Clone(logs), nil
	l.mu.Unlock()
	for _, log := range added {
		log.Mount(s.mux)
		s.services.addKey(log.key)
		s.watchLater(log.key)
	}
}

func (s *Stack) watchLater(key keys.Key) {
	if c, ok := s.watchKey(key); ok && s.serving {
		_ = s.later.start(c) // a stack that stops needs no watch
	}
}

// turnCT opens logs, or closes them.
func (s *Stack) turnCT(p *reloadPlan, closing bool) (err error) {
	for i, log := range p.ct.added {
		wanted := ctlog.ReadOnly
		if p.ct.shards[i].State == "" {
			wanted = ctlog.Active
		}
		if log.State() == ctlog.Frozen || log.State() == wanted || closing != (wanted == ctlog.ReadOnly) {
			continue
		}
		err = errors.Join(err, log.SetState(wanted))
	}
	return err
}

// goOverCT makes the CA ask other logs, and waits until nobody needs those of before.
func (s *Stack) goOverCT(next *askedCT) error {
	if next == nil {
		return nil
	}
	before := s.services.foreign.use(*next)
	gone, err := s.services.ca.UseCTLogs(next.logs)
	if err != nil {
		s.services.foreign.use(before)
		return err
	}
	select {
	case <-gone:
	case <-time.After(ctDrain):
	}
	before.close()
	for _, name := range before.names() {
		if !slices.Contains(next.names(), name) {
			s.ready.SetPart("ca", "CT log "+name, httpd.OK, "CT log "+name+" is not asked any more")
		}
	}
	return nil
}

// freezeCT freezes the logs that are to be, and are closed.
func (s *Stack) freezeCT(p *reloadPlan) {
	ctx, cancel := context.WithTimeout(context.Background(), ctFreeze)
	defer cancel()
	for i, log := range p.ct.added {
		if p.ct.shards[i].State != config.CTFrozen || log.State() == ctlog.Frozen {
			continue
		}
		err := s.freezeOne(ctx, log)
		if err == nil {
			continue
		}
		s.opts.Log.ErrorContext(ctx, "a CT log is closed, and could not be frozen", slog.String("ct_log", log.shard.Prefix), slog.Any("error", err))
		p.answer.Waiting = append(p.answer.Waiting, "the last tree head of ct log "+log.Trust().BaseURL+", which takes no more certificates: it is signed as soon as that is possible")
		p.until = s.opts.Now() // and so at the next look
	}
}

func (s *Stack) freezeOne(ctx context.Context, log *ownCT) error {
	head, err := log.tree.Settle(ctx)
	if err != nil {
		return err
	}
	final, err := s.layout.finalHead(log.treeName(s.conf), head, log.key, true)
	if err != nil {
		return err
	}
	return log.Freeze(ctx, final)
}
