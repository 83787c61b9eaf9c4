package release

import (
	"path/filepath"
	"sync"
	"time"

	"sigstack/internal/durable"
	"sigstack/internal/signing"
)

// How much is written before it is put in place: what a killed run has to submit again.
const (
	sidecarsAtOnce  = 768
	sidecarsAtLeast = 5 * time.Second // how often, while files are signed
)

// sidecars writes those of a tree, several files' at a time, each atomically. What is
// written is there after commit, which the last to be written needs. It is safe for
// concurrent use.
type sidecars struct {
	dir   string
	now   func() time.Time
	batch durable.Batch

	mu   sync.Mutex
	last time.Time // commit
}

func newSidecars(dir string, now func() time.Time) *sidecars {
	return &sidecars{dir: dir, now: now, last: now()}
}

// write creates a file that must not exist. The walk has seen every directory on
// the way to it, and none was a symlink. The bundle comes first: the others can be made
// again from it, so that a crash in between loses nothing.
func (s *sidecars) write(name, suffix string, data []byte) error {
	path := filepath.Join(s.dir, filepath.FromSlash(name+suffix))
	if suffix == signing.BundleSuffix {
		return s.batch.Create(path, data, 0o644)
	}
	return s.batch.CreateAfter(path, data, 0o644)
}

// commitSome commits if there is much to, or if the last time was long ago.
func (s *sidecars) commitSome() error {
	s.mu.Lock()
	due := s.now().Sub(s.last) >= sidecarsAtLeast || s.batch.Len() >= sidecarsAtOnce
	if due {
		s.last = s.now()
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	return s.commit()
}

func (s *sidecars) commit() error { return s.batch.Commit() }
