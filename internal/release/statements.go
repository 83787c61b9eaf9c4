package release

import (
	"strings"
	"sync"

	"sigstack/internal/oci"
)

// statements are the signatures as referrers that a run makes of manifests that lie in
// several repositories, as those below an index do. A statement names a manifest by its
// digest alone, so that one is signed, logged and verified once, and stored in each. (A
// simple signing payload names the repository, too.) It is safe for concurrent use.
type statements struct {
	mu         sync.Mutex // guards what is below, and left of each statement
	byManifest map[string]*statement
}

// statement is of one manifest.
type statement struct {
	images []string // repository@digest, all of them
	left   int      // of them that are not done

	mu            sync.Mutex // held while it is signed; guards what is below
	finished      oci.Finished
	made, resumed bool
}

func newStatements(targets []target) *statements {
	s := &statements{byManifest: map[string]*statement{}}
	for _, t := range targets {
		digest := manifestOf(t.pinned)
		if s.byManifest[digest] == nil {
			s.byManifest[digest] = new(statement)
		}
		one := s.byManifest[digest]
		one.images, one.left = append(one.images, t.pinned), one.left+1
	}
	for digest, one := range s.byManifest {
		if one.left == 1 {
			delete(s.byManifest, digest)
		}
	}
	return s
}

// manifestOf is the digest of repository@digest.
func manifestOf(pinned string) string {
	_, digest, _ := strings.Cut(pinned, "@")
	return digest
}

// of returns the signature of content, which sign makes unless it is made already. Sign is
// told for which images an earlier run may have made it.
func (s *statements) of(content oci.Content, sign func(images []string) (oci.Finished, bool, error)) (_ oci.Finished, resumed bool, err error) {
	s.mu.Lock()
	one := s.byManifest[manifestOf(content.Image)]
	s.mu.Unlock()
	if one == nil || content.Style != oci.Referrer {
		return sign([]string{content.Image})
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if !one.made {
		if one.finished, one.resumed, err = sign(one.images); err != nil {
			return oci.Finished{}, false, err
		}
		one.made = true
	}
	return one.finished, one.resumed, nil
}

// done forgets a manifest's signature when the last image that may need it is done.
func (s *statements) done(pinned string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := manifestOf(pinned)
	one := s.byManifest[digest]
	if one == nil {
		return
	}
	if one.left--; one.left == 0 {
		delete(s.byManifest, digest)
	}
}
