package oci

import (
	"crypto/sha256"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"sigstack/internal/signing"
)

// maxVerdicts bounds how many are remembered.
const maxVerdicts = 1024

// verdicts are the signatures, as referrers, that have passed in a run. One lies in every
// repository that holds the manifest: a registry is asked for each, and what it gives is
// judged again unless it is, byte for byte, what was judged before of the same manifest by
// the same trust. It is safe for concurrent use; nil remembers nothing.
type verdicts struct {
	mu     sync.Mutex // guards passed
	passed map[judged]Proof
}

// judged is what a verdict rests on.
type judged struct {
	content  [sha256.Size]byte // SHA-256 of the bundle
	manifest v1.Hash
	trusted  *signing.TrustRoot
	id       *signing.Identity
}

// Remembering returns a Registry that judges a signature once, in however many repositories
// it lies. It is for one run: verdicts are those of the moment at which they were given.
func (r *Registry) Remembering() *Registry {
	run := *r
	run.verdicts = &verdicts{passed: map[judged]Proof{}}
	return &run
}

func (v *verdicts) proof(key judged) (Proof, bool) {
	if v == nil {
		return Proof{}, false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	p, ok := v.passed[key]
	return p, ok
}

func (v *verdicts) keep(key judged, p Proof) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.passed) >= maxVerdicts {
		clear(v.passed)
	}
	v.passed[key] = p
}
