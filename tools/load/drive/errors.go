package drive

import (
	"cmp"
	"slices"
	"sync"
)

// maxExample bounds an example of an error, in bytes.
const maxExample = 600

// ErrorCount is how often one kind of error occurred, and what the first said.
type ErrorCount struct {
	Kind  string `json:"kind"`
	Count int64  `json:"count"`
	First string `json:"first"`
}

// Errors are counts by kind, the most frequent first.
type Errors []ErrorCount

// Total is the sum of the counts.
func (e Errors) Total() int64 {
	var n int64
	for _, c := range e {
		n += c.Count
	}
	return n
}

// errorCounts gathers errors. It is safe for concurrent use.
type errorCounts struct {
	mu     sync.Mutex
	byKind map[string]*ErrorCount
}

func (e *errorCounts) add(kind string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byKind == nil {
		e.byKind = make(map[string]*ErrorCount)
	}
	c, ok := e.byKind[kind]
	if !ok {
		first := err.Error()
		c = &ErrorCount{Kind: kind, First: first[:min(len(first), maxExample)]}
		e.byKind[kind] = c
	}
	c.Count++
}

func (e *errorCounts) list() Errors {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := Errors{}
	for _, c := range e.byKind {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Kind, b.Kind))
	})
	return list
}

func (e *errorCounts) total() int64 { return e.list().Total() }
