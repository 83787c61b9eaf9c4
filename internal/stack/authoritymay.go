package stack

import (
	"slices"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/fault"
)

// mayAct refuses acts on chains where a part of what they change is missing.
func (a *authority) mayAct() error {
	switch {
	case a.s.conf.Peers != nil:
		return fault.Newf(fault.Conflict, "this is process %s of a split stack: one process issues and another one publishes the chains, "+
			"and neither can do both. Prepare a chain before `sigstack split`; the process with the authority can go over to it after that", a.s.conf.Peers.Name)
	case a.present() == nil:
		return fault.Newf(fault.Conflict, "this stack has no %s: section %s of config.yaml is missing", a.of.noun(), a.of)
	case a.s.repo == nil:
		return fault.New(fault.Conflict, "this stack publishes nothing: section tuf of config.yaml is missing")
	}
	return nil
}

// mayTakeKey refuses a key for the next chain that has another use, or whose chain file
// would be written over one that config.yaml names.
func (a *authority) mayTakeKey(name string) error {
	s := a.s
	own := func(use string) error {
		return fault.Newf(fault.Conflict, "key %s is %s: give the new chain a key of its own", name, use)
	}
	if a.chains.has(name) {
		return own("another chain's")
	}
	if i := slices.IndexFunc(s.conf.Keys(), func(k config.Key) bool { return k.Name == name }); i >= 0 {
		return own(s.conf.Keys()[i].Field + " in config.yaml")
	}
	for _, other := range s.both() {
		if other.chains.has(name) {
			return own("that of a chain of the " + other.of.noun())
		}
	}
	if s.shards.has(name) {
		return own("a shard's of the log")
	}
	path := s.layout.path(chainPath(name))
	if slices.ContainsFunc(namedChains(s.conf), func(x namedChain) bool { return s.layout.path(x.path) == path }) {
		return fault.Newf(fault.Conflict, "file %s of key %s would be written over, which config.yaml names for another use: give the key of the new chain another name", chainPath(name), name)
	}
	return nil
}

// has reports whether a chain has a key of that name.
func (c *chainSet) has(key string) bool {
	list, _ := c.all()
	return slices.ContainsFunc(list, func(x signChain) bool { return x.Key == key })
}

// mayAdd refuses a further chain while one is there that has not issued yet.
func (a *authority) mayAdd(another bool) error {
	list, _ := a.chains.all()
	i := slices.IndexFunc(list, func(c signChain) bool { return c.Since.IsZero() && c.End.IsZero() })
	if another || i < 0 {
		return nil
	}
	c := list[i]
	return fault.Newf(fault.Conflict, "the chain of %s is prepared already, and has not issued yet: from %s on let config.yaml say, in section %s, key: %s and chain: %s. "+
		"With --another one more is prepared", c.certs[0].Subject, c.Distributed.Format(time.RFC3339), a.of, c.Key, chainPath(c.Key))
}
