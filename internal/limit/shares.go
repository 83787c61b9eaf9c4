package limit

import "sync"

// Shares is a budget, of bytes for one, that users of it share fairly: a user
// gets no more than it leaves free. One alone gets half of the total, a second
// one half of the rest, and so on, so that who takes all that can be had leaves
// something for others. A nil Shares is without end. It is safe for concurrent
// use.
type Shares struct {
	total int64

	mu   sync.Mutex
	used int64            // guarded by mu
	by   map[string]int64 // by user, never zero; guarded by mu
}

// NewShares returns a budget of total, none of it used.
func NewShares(total int64) *Shares { return &Shares{total: total, by: map[string]int64{}} }

// Take uses n of the budget; when that is more than the user's share it uses
// nothing and returns false. What was taken must be given back.
func (s *Shares) Take(user string, n int64) bool {
	if s == nil || n == 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by[user]+n > s.total-s.used-n {
		return false
	}
	s.by[user] += n
	s.used += n
	return true
}

// Give returns n of what the user has taken.
func (s *Shares) Give(user string, n int64) {
	if s == nil || n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= n
	if s.by[user] -= n; s.by[user] == 0 {
		delete(s.by, user)
	}
}

// Used is how much is taken now.
func (s *Shares) Used() int64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}
