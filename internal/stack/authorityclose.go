package stack

import (
	"slices"

	"sigstack/internal/fault"
)

// ends are the chains as they are to be when all that issue nothing any more are
// closed. What they issued verifies for ever.
func (a *authority) ends() ([]signChain, error) {
	if err := a.mayAct(); err != nil {
		return nil, err
	}
	list, _ := a.chains.all()
	draft, closed, active := slices.Clone(list), 0, find(list, a.present())
	for i, c := range a.ended(draft) {
		if i != active && !c.Retired.IsZero() && c.End.IsZero() {
			draft[i].End = c.Retired.Add(CloseAfter)
			closed++
		}
	}
	if closed == 0 {
		return nil, fault.New(fault.Conflict, "no chain is retired and open: there is nothing to close")
	}
	return draft, nil
}

// close drafts those ends.
func (a *authority) close() (ChainDraft, error) {
	draft, err := a.ends()
	if err != nil {
		return ChainDraft{}, err
	}
	return a.noteDraft(draft)
}

// wouldClose is what close would draft. It notes nothing, so that it cannot be
// published.
func (a *authority) wouldClose() (ChainDraft, error) {
	draft, err := a.ends()
	if err != nil {
		return ChainDraft{}, err
	}
	return a.draft(draft)
}
