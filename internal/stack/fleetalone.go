package stack

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// leadWithin bounds the wait for the lead of replicas that do not run.
const leadWithin = 5 * time.Second

// Act opens a directory that no process serves, for as long as do takes, and answers
// on its admin channel. A replica's directory leads meanwhile: what do changes is the
// fleet's. The error names the replica that leads if another one does.
func Act(ctx context.Context, opts Options, do func(context.Context) error) error {
	m, err := newMember(ctx, opts)
	if err != nil {
		return err
	}
	if m != nil {
		return errors.Join(m.act(ctx, do), m.close())
	}
	s, err := Open(ctx, opts)
	if err != nil {
		return err
	}
	return s.RunActs(ctx, do)
}

func (m *member) act(ctx context.Context, do func(context.Context) error) error {
	if _, err := m.fleet.TakeEdits(ctx); err != nil {
		return err
	}
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stop()
	parts.Go(func() { _ = m.fleet.Run(own) }) // it always returns nil
	if err := m.takeLead(ctx); err != nil {
		return err
	}
	opts := m.opts
	opts.member = m
	s, err := Open(ctx, opts)
	if err != nil {
		return err
	}
	return s.RunActs(ctx, do)
}

// takeLead pulls what there is until this replica leads.
func (m *member) takeLead(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leadWithin)
	defer cancel()
	for {
		changed := m.fleet.Changed()
		if m.fleet.Leading() {
			return nil
		}
		if m.fleet.Wanting() {
			_, revision, err := m.fleet.Pull(ctx)
			if err != nil {
				return err
			}
			m.fleet.Applied(revision)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			st := m.fleet.State()
			if st.Leader == "" || st.Leader == st.Name {
				return fmt.Errorf("%w; sigstack replica list shows them", errNoLeader)
			}
			return fmt.Errorf("replica %s at %s leads: do this there", st.Leader, st.LeaderAddress)
		}
	}
}
