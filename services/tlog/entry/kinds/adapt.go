package kinds

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
)

// kind is one kind of the library.
type kind struct {
	fresh   func() types.EntryImpl
	propose func(spec any) models.ProposedEntry
	// check refuses what the library should not see, and what it would take and
	// we do not; nil: nothing. Every error is fault.Invalid.
	check func(spec, entry.Algorithms) error
	// settle refuses or mends what the library made of a proposed spec; nil:
	// nothing.
	settle func(proposed spec, m made) (made, error)
}

// made is what the library made of a spec.
type made struct {
	spec  json.RawMessage // RFC 8785
	terms []string        // in any spelling
}

// canonicalize is the kind's entry.Canonicalizer. All that it knows of an entry
// it learns while it checks it, so that the terms are there at once.
func (k kind) canonicalize(proposed json.RawMessage, permitted entry.Algorithms) (entry.Content, error) {
	s, err := decode(proposed)
	if err != nil {
		return entry.Content{}, err
	}
	var m made
	err = guard(func() error {
		if k.check != nil {
			if err := k.check(s, permitted); err != nil {
				return err
			}
		}
		m, err = k.run(s)
		return err
	})
	if err != nil {
		return entry.Content{}, err
	}
	terms := make([]string, len(m.terms))
	for i, term := range m.terms {
		terms[i] = entry.Term(term)
	}
	return entry.Content{
		Spec:        m.spec,
		Terms:       func() entry.Terms { return entry.Terms{Payload: entry.Unique(terms)} },
		Attestation: s.bytes("message"), // of a cose; no other kind has one
	}, nil
}

// run has the library check a spec and make it canonical, in the order of the
// reference server: what an entry is found by follows from the canonical form.
func (k kind) run(s spec) (made, error) {
	e := k.fresh()
	if err := e.Unmarshal(k.propose(map[string]any(s))); err != nil {
		return made{}, err
	}
	if ok, err := e.Insertable(); !ok {
		return made{}, fmt.Errorf("not complete: %w", err)
	}
	body, err := types.CanonicalizeEntry(context.Background(), e)
	if err != nil {
		return made{}, err
	}
	var envelope struct{ Spec json.RawMessage }
	if err := json.Unmarshal(body, &envelope); err != nil {
		return made{}, err
	}
	terms, err := e.IndexKeys()
	if err != nil {
		return made{}, err
	}
	m := made{envelope.Spec, terms}
	if k.settle == nil {
		return m, nil
	}
	return k.settle(s, m)
}

// maxReason bounds what a caller is told of an error of the library, in bytes.
const maxReason = 300

// guard runs code of the library. Whatever it fails with is the caller's fault,
// a panic too: nothing but the caller's bytes went in, and of the formats that
// it reads, some readers behind it are old and trusting.
func guard(run func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			cause := fmt.Errorf("reader of the entry failed: %v\n%s", p, debug.Stack())
			err = fault.Wrap(fault.Invalid, cause, "entry could not be read")
		}
	}()
	if err = run(); err == nil || fault.KindOf(err) == fault.Invalid {
		return err
	}
	reason := err.Error()
	if len(reason) > maxReason {
		reason = reason[:maxReason] + "..."
	}
	return fault.Wrap(fault.Invalid, err, fmt.Sprintf("refused: %q", reason))
}
