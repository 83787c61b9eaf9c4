package stack

import (
	"slices"
	"time"

	"sigstack/internal/fault"
)

// unusedQuery is that of the acts that close, for chains that never issued.
const unusedQuery = "unused"

// ends are the chains as they are to be when all that issue nothing any more are
// closed, or with unused all that were published and never issued. What was issued
// verifies for ever.
func (a *authority) ends(unused bool) ([]signChain, error) {
	if err := a.mayAct(); err != nil {
		return nil, err
	}
	list, _ := a.chains.all()
	draft, closed, active := slices.Clone(list), 0, find(list, a.present())
	now := a.s.opts.Now().UTC().Truncate(time.Second)
	for i, c := range a.ended(draft) {
		switch {
		case i == active || !c.End.IsZero() || unused != c.Since.IsZero():
		case unused:
			draft[i].End = now
			closed++
		case !c.Retired.IsZero():
			draft[i].End = c.Retired.Add(CloseAfter)
			closed++
		}
	}
	switch {
	case closed == 0 && unused:
		return nil, fault.New(fault.Conflict, "no chain is prepared that never issued: there is nothing to close. What a prepare has left that nobody published is replaced by the next one")
	case closed == 0:
		return nil, fault.New(fault.Conflict, "no chain is retired and open: there is nothing to close")
	}
	return draft, a.mayLead(draft, active)
}

// mayLead refuses ends after which clients of PEM files would be told of a timestamp
// authority that signs nothing: they know the oldest that is open.
func (a *authority) mayLead(draft []signChain, active int) error {
	if a.of != TSA || active < 0 {
		return nil
	}
	for _, c := range a.ended(draft) {
		if c.Since.IsZero() && c.End.IsZero() && c.certs[0].NotBefore.Before(draft[active].certs[0].NotBefore) {
			return fault.Newf(fault.Conflict, "the chain of %s was prepared before the one in use and never signed anything: older clients, which know one chain, would be told of it next. Close it first: sigstack %s chain close --unused", c.certs[0].Subject, a.of)
		}
	}
	return nil
}

// close drafts those ends.
func (a *authority) close(unused bool) (ChainDraft, error) {
	draft, err := a.ends(unused)
	if err != nil {
		return ChainDraft{}, err
	}
	return a.noteDraft(draft)
}

// wouldClose is what close would draft. It notes nothing, so that it cannot be
// published.
func (a *authority) wouldClose(unused bool) (ChainDraft, error) {
	draft, err := a.ends(unused)
	if err != nil {
		return ChainDraft{}, err
	}
	return a.draft(draft)
}
