package token

import (
	"slices"
	"sync"
)

// maxMatched bounds how many issuers that a pattern matched are kept (contract:
// ca.md §2).
const maxMatched = 100

// cache keeps the most recently used sources. It is safe for concurrent use.
type cache struct {
	limit int

	mu      sync.Mutex // guards sources
	sources []*source  // most recently used last; few enough to walk through
}

// get returns the source of an issuer that a pattern matched, made by add if it is
// not there, and drops the one unused for longest when there are too many.
func (c *cache) get(url, pattern string, add func() (*source, error)) (*source, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.sources, func(s *source) bool { return s.url == url && s.issuer.URL == pattern })
	if i >= 0 {
		src := c.sources[i]
		c.sources = append(slices.Delete(c.sources, i, i+1), src)
		return src, nil
	}
	src, err := add()
	if err != nil {
		return nil, err
	}
	if len(c.sources) == c.limit {
		c.sources = slices.Delete(c.sources, 0, 1)
	}
	c.sources = append(c.sources, src)
	return src, nil
}

// taken returns those of its sources that keep says so of, in their order.
func (c *cache) taken(keep func(*source) bool) []*source {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*source
	for _, src := range c.sources {
		if keep(src) {
			out = append(out, src)
		}
	}
	return out
}
