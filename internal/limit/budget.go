package limit

import "sync/atomic"

// Budget is an amount, of requests for one, of which who comes first takes. A nil Budget is
// without end. It is safe for concurrent use.
type Budget struct {
	total int64
	used  atomic.Int64
}

// NewBudget returns a budget of total, none of it used.
func NewBudget(total int64) *Budget { return &Budget{total: total} }

// Take uses n of the budget; when less is left it uses nothing and returns
// false. What was taken must be given back once.
func (b *Budget) Take(n int64) bool {
	if b == nil {
		return true
	}
	if b.used.Add(n) > b.total {
		b.used.Add(-n)
		return false
	}
	return true
}

// Give returns n that was taken.
func (b *Budget) Give(n int64) {
	if b != nil {
		b.used.Add(-n)
	}
}

// Used is how much is taken now.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}
