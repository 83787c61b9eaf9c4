package ceremony

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tufroot "sigstack/tuf-root"
)

// Status is how far a ceremony is.
type Status struct {
	ID, Title      string
	Started, Until time.Time
	Head           string // of the transcript
	Roles          []RoleStatus
	Complete       bool // every role has the signatures that it needs
	Unrecorded     int  // signatures that are not in the transcript yet
}

// RoleStatus is one demand for signatures. A draft that the current and the new root
// ask different keys for has two.
type RoleStatus struct {
	Role      string // what is signed: root or targets
	Version   int64  // of the draft
	Of        string // in words: which root asks for it
	Threshold int
	Signed    []Signer
	Missing   []string // key IDs that have not signed; as many as are needed are enough
}

// Reached reports whether the role has the signatures that it needs.
func (r RoleStatus) Reached() bool { return len(r.Signed) >= r.Threshold }

// Signer is who has signed.
type Signer struct {
	Key, Who string
	At       time.Time
}

// Status tells who has signed, and who has not.
func (c *Ceremony) Status() Status {
	st := Status{
		ID: c.id, Title: c.plan.Title, Started: c.plan.Started, Until: c.plan.Until,
		Head: c.head(), Complete: true, Unrecorded: len(c.unrecorded()),
	}
	for _, n := range c.needs {
		r := RoleStatus{Role: n.draft.Role, Version: n.draft.Version, Of: n.of, Threshold: n.keys.Threshold}
		for _, k := range n.keys.Keys {
			if s, ok := c.signature(n.draft.Role, k.ID); ok {
				r.Signed = append(r.Signed, Signer{k.ID, s.Who, s.At})
			} else {
				r.Missing = append(r.Missing, k.ID)
			}
		}
		st.Complete = st.Complete && r.Reached()
		st.Roles = append(st.Roles, r)
	}
	return st
}

func (c *Ceremony) signature(role, key string) (signature, bool) {
	i := slices.IndexFunc(c.signatures, func(s signature) bool { return s.Role == role && s.Key == key })
	if i < 0 {
		return signature{}, false
	}
	return c.signatures[i], true
}

// Signed returns the drafts with all their signatures, nil for a draft that there is
// not. The error matches ErrTooFew, and says who is missing, when a role has fewer
// than it needs.
func (c *Ceremony) Signed() (root, targets []byte, err error) {
	var missing []error
	for _, r := range c.Status().Roles {
		if !r.Reached() {
			missing = append(missing, fmt.Errorf("%s version %d has %d of the %d signatures that %s asks for; not yet signed by %s",
				r.Role, r.Version, len(r.Signed), r.Threshold, r.Of, short(r.Missing)))
		}
	}
	if len(missing) > 0 {
		return nil, nil, fmt.Errorf("%w: %w", ErrTooFew, errors.Join(missing...))
	}
	if root, err = c.signed(c.root); err != nil {
		return nil, nil, err
	}
	targets, err = c.signed(c.targets)
	return root, targets, err
}

func (c *Ceremony) signed(draft *tufroot.Document) ([]byte, error) {
	if draft == nil {
		return nil, nil
	}
	var sigs []tufroot.Signature
	for _, s := range c.signatures {
		if s.Role != draft.Role {
			continue
		}
		raw, err := hex.DecodeString(s.Sig)
		if err != nil {
			return nil, fmt.Errorf("read signature: %w", err)
		}
		sigs = append(sigs, tufroot.Signature{KeyID: s.Key, Sig: raw})
	}
	// The same signatures give the same bytes, in whatever order they were made.
	slices.SortFunc(sigs, func(a, b tufroot.Signature) int { return strings.Compare(a.KeyID, b.KeyID) })
	return draft.With(sigs)
}

// short lists key IDs as people compare them.
func short(ids []string) string {
	out := make([]string, 0, len(ids))
	for _, id := range ids {
		out = append(out, fmt.Sprintf("%.16s", id))
	}
	return strings.Join(out, ", ")
}
