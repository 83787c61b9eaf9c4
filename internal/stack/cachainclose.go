package stack

import (
	"slices"

	"sigstack/internal/fault"
)

// chainEnds are the chains as they are to be when all that issue nothing any more are
// closed. What they issued verifies for ever.
func (s *Stack) chainEnds() ([]caChain, error) {
	if err := s.mayChain(); err != nil {
		return nil, err
	}
	list, _ := s.chains.all()
	draft, closed, active := slices.Clone(list), 0, find(list, s.services.ca.Trust().Chain)
	for i, c := range draft {
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

// closeChains drafts those ends.
func (s *Stack) closeChains() (ChainDraft, error) {
	draft, err := s.chainEnds()
	if err != nil {
		return ChainDraft{}, err
	}
	return s.noteDraft(draft)
}

// wouldClose is what closeChains would draft. It notes nothing, so that it cannot be
// published.
func (s *Stack) wouldClose() (ChainDraft, error) {
	draft, err := s.chainEnds()
	if err != nil {
		return ChainDraft{}, err
	}
	return s.draftChains(draft)
}
