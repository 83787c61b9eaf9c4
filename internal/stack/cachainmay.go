package stack

import (
	"slices"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/fault"
)

// mayChain refuses acts on chains where a part of what they change is missing.
func (s *Stack) mayChain() error {
	switch {
	case s.conf.Peers != nil:
		return fault.Newf(fault.Conflict, "this is process %s of a split stack: one process issues and another one publishes the chains, "+
			"and neither can do both. Prepare a chain before `sigstack split`; the process with the authority can go over to it after that", s.conf.Peers.Name)
	case s.services.ca == nil:
		return fault.New(fault.Conflict, "this stack has no certificate authority: section ca of config.yaml is missing")
	case s.repo == nil:
		return fault.New(fault.Conflict, "this stack publishes nothing: section tuf of config.yaml is missing")
	}
	return nil
}

// mayTakeKey refuses a key for the next chain that has another use, or whose chain file
// would be written over one that config.yaml names.
func (s *Stack) mayTakeKey(name string) error {
	list, _ := s.chains.all()
	own := func(use string) error {
		return fault.Newf(fault.Conflict, "key %s is %s: give the new chain a key of its own", name, use)
	}
	if slices.ContainsFunc(list, func(c caChain) bool { return c.Key == name }) {
		return own("another chain's")
	}
	if i := slices.IndexFunc(s.conf.Keys(), func(k config.Key) bool { return k.Name == name }); i >= 0 {
		return own(s.conf.Keys()[i].Field + " in config.yaml")
	}
	if s.shards.has(name) {
		return own("a shard's of the log")
	}
	path := s.layout.path(chainPath(name))
	files := []string{s.conf.CA.Chain}
	if s.conf.TSA != nil {
		files = append(files, s.conf.TSA.Chain)
	}
	if s.conf.TLS != nil && s.conf.TLS.InternalCA != nil {
		files = append(files, s.conf.TLS.InternalCA.Chain)
	}
	if slices.ContainsFunc(files, func(f string) bool { return s.layout.path(f) == path }) {
		return fault.Newf(fault.Conflict, "file %s of key %s would be written over, which config.yaml names for another use: give the key of the new chain another name", chainPath(name), name)
	}
	return nil
}

// mayAddChain refuses a further chain while one is there that has not issued yet.
func (s *Stack) mayAddChain(another bool) error {
	list, _ := s.chains.all()
	i := slices.IndexFunc(list, func(c caChain) bool { return c.Since.IsZero() && c.End.IsZero() })
	if another || i < 0 {
		return nil
	}
	c := list[i]
	return fault.Newf(fault.Conflict, "the chain of %s is prepared already, and has not issued yet: from %s on let config.yaml say, in section ca, key: %s and chain: %s. "+
		"With --another one more is prepared", c.certs[0].Subject, c.Distributed.Format(time.RFC3339), c.Key, chainPath(c.Key))
}
