package fleet

import (
	"context"
	"maps"
	"slices"
)

// Belief is what a leader goes by.
func (f *Fleet) Belief() *held {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held
}

// Believe makes a replica believe that it leads, as one does that stood still.
func (f *Fleet) Believe(h *held, revision int64) {
	f.update(func() { f.held, f.applied, f.settled = h, revision, f.doubts })
}

// MayReplicate is mayReplicate.
func MayReplicate(p string) bool { return mayReplicate(p) }

// ParseAgreed returns the paths of a file of agreed hashes.
func ParseAgreed(data []byte) ([]string, error) {
	agreed, err := parseAgreed(data)
	return slices.Collect(maps.Keys(agreed)), err
}

// CountAttempts counts rows of buckets.
func (f *Fleet) CountAttempts(ctx context.Context) (n int, err error) {
	err = f.pool.QueryRow(ctx, "SELECT count(*) FROM Attempts").Scan(&n)
	return n, err
}

// Exec does what a stranger with the database's password could.
func (f *Fleet) Exec(ctx context.Context, statement string) error {
	_, err := f.pool.Exec(ctx, statement)
	return err
}
