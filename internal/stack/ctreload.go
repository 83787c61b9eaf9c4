package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sigstack/internal/config"
	"sigstack/services/ctlog"
)

// ctPlan is what a reload would change of the CT logs, all of it checked.
type ctPlan struct {
	shards []config.CTShard // of this process, as they are to be; nil: it has none
	asked  *askedCT         // what the CA is to ask; nil: this process has none
	added  []*ownCT         // that are opened for it
}

// planCT plans the CT logs. While a log that config.yaml names is not known to every
// client, all of them stay as they are: what it stands in for must not go before.
func (s *Stack) planCT(p *reloadPlan) error {
	if s.services.ctlog == nil && s.services.ca == nil {
		return nil
	}
	waiting, until := s.waitingCT(p.conf)
	if len(waiting) > 0 {
		p.answer.Waiting = append(p.answer.Waiting, fmt.Sprintf(
			"ct log %s has not had time to become known to every client: it, and what else config.yaml changes of CT logs, is taken by itself at %s",
			strings.Join(waiting, ", "), until.Format(time.RFC3339)))
		p.until = soonest(p.until, until)
		return nil
	}
	plan := &ctPlan{}
	changed, err := s.planOwnCT(p, plan)
	if err != nil {
		return err
	}
	if s.services.ca != nil {
		words, err := s.wordsCT(p.conf, plan.shards)
		if err != nil {
			return err
		}
		if !slices.Equal(words, s.services.foreign.current().words) {
			changed = true
			plan.asked = &askedCT{}
		}
	}
	if changed {
		p.ct = plan
	}
	return nil
}

// planOwnCT plans the logs of this process.
func (s *Stack) planOwnCT(p *reloadPlan, plan *ctPlan) (changed bool, err error) {
	if s.services.ctlog == nil {
		return false, nil
	}
	live := s.services.ctlog.all()
	for i, shard := range p.conf.CTLog.Logs() {
		log := byPrefix(live, shard.Prefix)
		if log == nil {
			if err := s.mayOpenCT(shard); err != nil {
				return false, fmt.Errorf("ctlog.shards[%d]: %w", i-1, err)
			}
			p.took("ct log " + p.conf.URL + "/" + shard.Prefix + " added")
			plan.shards, changed = append(plan.shards, shard), true
			continue
		}
		was := log.shard
		if was.State = shard.State; was != shard {
			p.needsRestart("ctlog")
		}
		plan.shards = append(plan.shards, was)
		if word := turnsCT(log.State(), ctlog.State(shard.State)); word != "" {
			p.took("ct log " + log.Trust().BaseURL + " " + word)
			changed = true
		}
	}
	for _, log := range live {
		if !slices.ContainsFunc(plan.shards, func(s config.CTShard) bool { return s.Prefix == log.shard.Prefix }) {
			p.needsRestart("ctlog")
			plan.shards = append(plan.shards, log.shard)
		}
	}
	return changed, nil
}

func (p *reloadPlan) needsRestart(section string) {
	if !slices.Contains(p.answer.NeedsRestart, section) {
		p.answer.NeedsRestart = append(p.answer.NeedsRestart, section)
	}
}

// turnsCT says what becomes of a log; "" if nothing does.
func turnsCT(from, to ctlog.State) string {
	switch {
	case from == to:
		return ""
	case to == ctlog.Active:
		return "takes certificates again"
	case to == ctlog.ReadOnly:
		return "takes no more certificates"
	default:
		return "is frozen"
	}
}

// mayOpenCT tries the key of a log that is to be added.
func (s *Stack) mayOpenCT(shard config.CTShard) error {
	if byPrefix(s.services.ctlog.opened(), shard.Prefix) != nil {
		return nil // by a reload that did not come to its end
	}
	key, err := s.keys.Load(shard.Key)
	if err == nil {
		err = key.Test()
	}
	return err
}

// wordsCT are the words of what the CA is to ask.
func (s *Stack) wordsCT(conf *config.Config, shards []config.CTShard) ([]string, error) {
	var own []*ownCT
	for _, shard := range shards {
		log := byPrefix(s.services.ctlog.opened(), shard.Prefix)
		if log == nil {
			return nil, nil // it is not there yet: the list is another one
		}
		own = append(own, log)
	}
	asked, err := s.askCT(conf, own)
	return asked.words, err
}

// openCTLogs makes all that a plan for CT logs needs, and can fail. Nothing uses it yet.
// What is opened stays so: the next reload finds it.
func (s *Stack) openCTLogs(p *reloadPlan) (undo func() error, err error) {
	if p.ct == nil {
		return nothing, nil
	}
	var own []*ownCT
	for _, shard := range p.ct.shards {
		log, err := s.openedCT(shard)
		if err != nil {
			return nil, fmt.Errorf("ct log %s: %w", shard.Prefix, err)
		}
		own = append(own, log)
	}
	p.ct.added = own
	if p.ct.asked != nil {
		asked, err := s.askCT(p.conf, own)
		if err != nil {
			return nil, err
		}
		if err := s.services.ca.CheckCTLogs(asked.logs); err != nil {
			return nil, err
		}
		if names := asked.names(); !slices.Equal(names, s.services.foreign.current().names()) {
			p.took("ct logs that the ca asks: " + strings.Join(names, ", "))
		}
		p.ct.asked = &asked
	}
	before := s.ctRecords.all()
	if err := s.noteUsedCT(p.conf); err != nil {
		return nil, err
	}
	return func() error {
		if slices.EqualFunc(before, s.ctRecords.all(), ctRecord.same) {
			return nil
		}
		return s.ctRecords.set(before)
	}, nil
}

// openedCT returns the log of a shard, which it opens and runs if need be.
func (s *Stack) openedCT(shard config.CTShard) (*ownCT, error) {
	l := s.services.ctlog
	if log := byPrefix(l.opened(), shard.Prefix); log != nil {
		return log, nil
	}
	if !s.serving {
		return nil, errors.New("the stack is not running: its next start takes it")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	log, err := s.openCT(context.Background(), shard, false)
	if err != nil {
		return nil, err
	}
	if !s.later.start(component{log.treeName(s.conf) + " tree", log.tree.Run}) {
		return nil, errors.New("the stack is shutting down")
	}
	l.ready = append(l.ready, log)
	return log, nil
}

// noteUsedCT notes the logs that config.yaml has.
func (s *Stack) noteUsedCT(conf *config.Config) error {
	now := s.opts.Now().UTC().Truncate(time.Second)
	has := map[string]bool{}
	for _, e := range s.layout.ctEntries(conf, func(string) []byte { return nil }) {
		has[e.url] = true
	}
	return s.ctRecords.change(func(r *ctRecord) {
		if r.Used.IsZero() && !r.Published.IsZero() && has[r.URL] {
			r.Used = now
		}
	})
}
