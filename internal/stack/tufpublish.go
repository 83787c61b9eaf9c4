package stack

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"sigstack/internal/fault"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// draftTUF drafts what an order changes. Nothing is published, and nothing but files
// that no metadata names yet is written; so it can be asked for again and again.
func (s *Stack) draftTUF(order TUFOrder) (TUFDraft, error) {
	if err := s.mayTUF(); err != nil {
		return TUFDraft{}, err
	}
	targets, err := s.liveTargets()
	if err != nil {
		return TUFDraft{}, err
	}
	if s.repo == nil {
		return s.draftFirst(order, targets)
	}
	var d TUFDraft
	change, changes, err := order.change(s.repo.Roles())
	if err != nil {
		return TUFDraft{}, err
	}
	if changes {
		if d.Root, err = s.repo.DraftRoot(change); err != nil {
			return TUFDraft{}, fault.Wrap(fault.Invalid, err, "the root cannot be so")
		}
	}
	// New keys of the targets have to have signed what is published under them.
	if order.Targets.Renew || change.Targets != nil {
		d.Files = targets
		if d.Targets, err = s.repo.DraftTargets(targets); err != nil {
			return TUFDraft{}, err
		}
	}
	if d.Root == nil && d.Targets == nil {
		return TUFDraft{}, fault.New(fault.Invalid, "nothing is to be changed: say what, or renew what is there")
	}
	return d, nil
}

// change is what the order makes of the root, and whether there is to be a new one.
func (o TUFOrder) change(roles []tufroot.RoleDescription) (c tufroot.RootChange, changes bool, err error) {
	var errs []error
	role := func(order TUFRoleOrder, now tufroot.RoleDescription) *tufroot.RoleKeys {
		k, err := order.change(now.Role, now)
		errs = append(errs, err)
		changes = changes || k != nil
		return k
	}
	c.Root, c.Targets = role(o.Root, roles[0]), role(o.Targets, roles[1])
	c.Snapshot, c.Timestamp = role(o.Snapshot, roles[2]), role(o.Timestamp, roles[3])
	return c, changes || o.Root.Renew, errors.Join(errs...)
}

// draftFirst drafts the first root and the first targets.
func (s *Stack) draftFirst(order TUFOrder, targets []trust.Target) (d TUFDraft, err error) {
	if len(order.Root.Add) == 0 || len(order.Targets.Add) == 0 || order.Root.Threshold == 0 || order.Targets.Threshold == 0 {
		return d, fault.New(fault.Invalid, "the first root needs keys and a threshold for root and for targets")
	}
	online := func(key tufroot.RoleKeys) *tufroot.RoleKeys { return &key }
	snapshot, timestamp := s.online.Snapshot.Public(), s.online.Timestamp.Public()
	change := tufroot.RootChange{
		Snapshot:  online(tufroot.RoleKeys{Keys: []crypto.PublicKey{snapshot}, Threshold: 1}),
		Timestamp: online(tufroot.RoleKeys{Keys: []crypto.PublicKey{timestamp}, Threshold: 1}),
	}
	var rootErr, targetsErr error
	change.Root, rootErr = order.Root.change("root", tufroot.RoleDescription{})
	change.Targets, targetsErr = order.Targets.change("targets", tufroot.RoleDescription{})
	if err := errors.Join(rootErr, targetsErr); err != nil {
		return d, err
	}
	cfg := s.layout.repository(s.conf, s.opts.Now)
	if d.Root, err = tufroot.FirstRoot(cfg, change); err != nil {
		return d, fault.Wrap(fault.Invalid, err, "the root cannot be so")
	}
	d.Files = targets
	d.Targets, err = tufroot.FirstTargets(cfg, targets)
	return d, err
}

// liveTargets are the targets that the services say as they are.
func (s *Stack) liveTargets() ([]trust.Target, error) {
	material := s.material()
	if err := material.Validate(); err != nil {
		return nil, fmt.Errorf("trust material: %w", err)
	}
	return material.Targets(s.opts.Now())
}

// PublishedTUF reads the root and the targets that a status names.
func (l Layout) PublishedTUF(st TUFStatus) (root, targets []byte, err error) {
	for _, r := range st.Roles {
		if r.Role != "root" && r.Role != "targets" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(l.TUF(), strconv.FormatInt(r.Version, 10)+"."+r.Role+".json"))
		if err != nil {
			return nil, nil, fmt.Errorf("read what is published: %w", err)
		}
		if r.Role == "root" {
			root = data
		} else {
			targets = data
		}
	}
	return root, targets, nil
}

// TargetFiles reads the files that targets metadata names, published or drafted.
func (l Layout) TargetFiles(targets []byte) ([]trust.Target, error) {
	doc, err := tufroot.ParseDocument(targets)
	if err != nil {
		return nil, err
	}
	var out []trust.Target
	for _, f := range doc.Files {
		data, err := os.ReadFile(filepath.Join(l.TUF(), "targets", f.SHA256+"."+f.Name))
		if err != nil {
			return nil, fmt.Errorf("read target %s: %w", f.Name, err)
		}
		out = append(out, trust.Target{Name: f.Name, Data: data, Custom: f.Custom})
	}
	return out, nil
}

// publishTUF publishes signed metadata: the targets before the root, since the root
// is refused unless the published targets verify under it too. What is out already
// is passed over, so that a publication that was interrupted, at whichever write, is
// finished by another one.
func (s *Stack) publishTUF(ctx context.Context, signed TUFSigned) (TUFStatus, error) {
	if err := s.mayTUF(); err != nil {
		return TUFStatus{}, err
	}
	targets, err := s.liveTargets()
	if err != nil {
		return TUFStatus{}, err
	}
	if s.awaitsRoot {
		err = s.publishFirstSigned(ctx, signed, targets)
	} else {
		err = s.publishNext(ctx, signed, targets)
	}
	if err != nil {
		return TUFStatus{}, refusedTUF(err)
	}
	if err := s.writeKit(s.repo); err != nil {
		return TUFStatus{}, fmt.Errorf("the trust root is published, but the client kit could not be written: %w", err)
	}
	if s.awaitsRoot {
		if err := s.layout.rootCame(); err != nil {
			return TUFStatus{}, err
		}
		s.awaitsRoot = false
	}
	return s.tufStatus()
}

// refusedTUF classifies why nothing was published.
func refusedTUF(err error) error {
	switch {
	case fault.KindOf(err) != fault.Internal:
		return err
	case errors.Is(err, tufroot.ErrStale):
		return fault.Wrap(fault.Conflict, err, "the ceremony was overtaken: start another in an empty folder")
	}
	return fault.Wrap(fault.Invalid, err, "nothing was published")
}

// publishFirstSigned makes the repository. After a crash behind its last write in
// there the directory waits for its root no more.
func (s *Stack) publishFirstSigned(ctx context.Context, signed TUFSigned, targets []trust.Target) error {
	if signed.Root == nil || signed.Targets == nil {
		return fault.New(fault.Invalid, "the first root comes with the first targets: both have to be signed")
	}
	if err := s.prove(ctx, targets, Publication{signed.Targets, signed.Unchecked}); err != nil {
		return err
	}
	cfg := s.layout.repository(s.conf, s.opts.Now)
	repo, err := tufroot.CreateSigned(cfg, signed.Root, signed.Targets, targets, s.online)
	if err != nil {
		return err
	}
	s.repo = repo
	return nil
}

// publishNext publishes targets, then the root.
func (s *Stack) publishNext(ctx context.Context, signed TUFSigned, targets []trust.Target) error {
	st, err := s.tufStatus()
	if err != nil {
		return err
	}
	root, current, err := s.layout.PublishedTUF(st)
	if err != nil {
		return err
	}
	if signed.Targets != nil && !sameDocument(signed.Targets, current) {
		if err := s.publishFiles(ctx, targets, Publication{signed.Targets, signed.Unchecked}); err != nil {
			return err
		}
	}
	if signed.Root == nil || sameDocument(signed.Root, root) {
		return nil
	}
	if err := s.repo.PublishRoot(signed.Root); err != nil {
		return err
	}
	return s.repo.CheckOnline(s.online)
}

// sameDocument reports whether two pieces of metadata say the same, whoever has
// signed them.
func sameDocument(a, b []byte) bool {
	left, err := tufroot.ParseDocument(a)
	if err != nil {
		return false // it is refused when it is published
	}
	right, err := tufroot.ParseDocument(b)
	return err == nil && left.SHA256 == right.SHA256
}
