package stack

import (
	"context"
	"strings"

	"sigstack/internal/trust"
)

// mustFail names the checks before a publication that fail because of what is meant:
// what the key has signed last does not verify any more. They are waived, and that is
// on record; whatever else fails refuses the end of trust as it refuses any change.
func (s *Stack) mustFail(ctx context.Context, c Compromise, signed Publication) ([]string, error) {
	m := c.in(s.material())
	targets, err := m.Targets(s.opts.Now())
	if err != nil {
		return nil, err
	}
	active := s.signsNow(c.Kind, c.Key)
	var out []string
	switch {
	case active:
		out = []string{trust.CheckWindows, checkSign}
	case c.Kind == CompromisedLog && s.newestEntryIsOld():
		out = []string{checkSign}
	}
	ctx, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	for _, f := range s.flaws(ctx, targets, signed, false) {
		if active || c.explains(f.Check) {
			out = append(out, f.Check)
		}
	}
	return out, nil
}

// explains reports whether a check looks at what the compromised key has signed last:
// certificates are looked up in the CT log.
func (c Compromise) explains(check string) bool {
	service, _, _ := strings.Cut(check, "@")
	switch c.Kind {
	case CompromisedCA, CompromisedCTLog:
		return service == "ctlog"
	case CompromisedLog:
		return service == "tlog"
	}
	return false
}

// newestEntryIsOld: the shard that takes entries has none yet.
func (s *Stack) newestEntryIsOld() bool {
	if s.shards == nil {
		return false
	}
	tree := s.services.allTrees()[s.shards.activeName()]
	return tree != nil && tree.Head().Size == 0
}
