package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"sigstack/internal/keys"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

// rootRole is who signs a role.
type rootRole struct {
	Role      string   `json:"role"`
	Threshold int      `json:"threshold"`
	Keys      []string `json:"keys"` // IDs, sorted
}

// rolesOf are the roles of a root.
func rolesOf(doc *tufroot.Document) (out []rootRole) {
	for _, r := range doc.Roles {
		role := rootRole{Role: r.Role, Threshold: r.Threshold}
		for _, k := range r.Keys {
			role.Keys = append(role.Keys, k.ID)
		}
		slices.Sort(role.Keys)
		out = append(out, role)
	}
	return out
}

// with is a role as an order changes it.
func (r rootRole) with(o stack.TUFRoleOrder) (rootRole, error) {
	gone := func(id string) bool {
		return slices.ContainsFunc(o.Remove, func(begin string) bool { return strings.HasPrefix(id, strings.ToLower(begin)) })
	}
	out := rootRole{Role: r.Role, Threshold: r.Threshold, Keys: slices.DeleteFunc(slices.Clone(r.Keys), gone)}
	for _, text := range o.Add {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return out, usagef("a key to be added to the %s is not PEM", r.Role)
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return out, fmt.Errorf("a key to be added to the %s: %w", r.Role, err)
		}
		id, err := tufroot.KeyID(public)
		if err != nil {
			return out, fmt.Errorf("a key to be added to the %s: %w", r.Role, err)
		}
		out.Keys = append(out.Keys, id)
	}
	if o.Threshold != 0 {
		out.Threshold = o.Threshold
	}
	slices.Sort(out.Keys)
	return out, nil
}

// longestRoot bounds the life of a root that is signed without a ceremony's signers.
const longestRoot = 10 * 366 * 24 * time.Hour

// approveRoot refuses a draft that is not what was ordered, and nothing else, and
// returns its roles. The process that drafted it is believed nothing.
func approveRoot(d rootDraft, order stack.TUFOrder, now time.Time) ([]rootRole, error) {
	before, err1 := tufroot.ParseDocument(d.root)
	after, err2 := tufroot.ParseDocument(d.Root)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("nothing was signed: %w", err)
	}
	want := rolesOf(before)
	for i, role := range want {
		var err error
		switch role.Role {
		case "root":
			want[i], err = role.with(order.Root)
		case "targets":
			want[i], err = role.with(order.Targets)
		}
		if err != nil {
			return nil, err
		}
	}
	got := rolesOf(after)
	switch {
	case after.Version != before.Version+1:
		return nil, fmt.Errorf("nothing was signed: the draft of the root is version %d, and %d is published", after.Version, before.Version)
	case !reflect.DeepEqual(got, want):
		return nil, errors.New("nothing was signed: the draft changes other keys or thresholds than those that were named")
	case !after.Expires.After(now) || after.Expires.After(now.Add(longestRoot)):
		return nil, fmt.Errorf("nothing was signed: the draft of the root expires at %s", stamp(after.Expires))
	}
	return got, approveSameTargets(d, now)
}

// approveSameTargets refuses targets that name other files than the published ones.
func approveSameTargets(d rootDraft, now time.Time) error {
	if d.Targets == nil {
		return nil
	}
	before, err1 := tufroot.ParseDocument(d.targets)
	after, err2 := tufroot.ParseDocument(d.Targets)
	switch err := errors.Join(err1, err2); {
	case err != nil:
		return fmt.Errorf("nothing was signed: %w", err)
	case after.Version != before.Version+1 || !after.Expires.After(now) || after.Expires.After(now.Add(longestRoot)):
		return fmt.Errorf("nothing was signed: the draft of the targets is version %d until %s, and %d is published", after.Version, stamp(after.Expires), before.Version)
	case !reflect.DeepEqual(before.Files, after.Files):
		return errors.New("nothing was signed: files that targets name would change, too: let the stack publish those first")
	}
	return nil
}

// changesOfRoles says what a draft changes, in words.
func changesOfRoles(d rootDraft) (out []string) {
	before, err := tufroot.ParseDocument(d.root)
	if err != nil {
		return nil // it was parsed when the draft was approved
	}
	for i, was := range rolesOf(before) {
		is := d.roles[i]
		for _, id := range is.Keys {
			if !slices.Contains(was.Keys, id) {
				out = append(out, fmt.Sprintf("%s: key %.16s comes", is.Role, id))
			}
		}
		for _, id := range was.Keys {
			if !slices.Contains(is.Keys, id) {
				out = append(out, fmt.Sprintf("%s: key %.16s goes", is.Role, id))
			}
		}
		if was.Threshold != is.Threshold || len(was.Keys) != len(is.Keys) {
			out = append(out, fmt.Sprintf("%s: %d of %d keys must sign, so far %d of %d", is.Role, is.Threshold, len(is.Keys), was.Threshold, len(was.Keys)))
		}
	}
	return out
}

// rootKeysAtHand opens every directory of keys that is named.
func (a *app) rootKeysAtHand(ctx context.Context, f rotateFlags) (out []offlineKeys, err error) {
	if n := len(f.passphraseFiles); n > 0 && n != max(1, len(f.offline)) {
		return nil, usagef("--offline-passphrase-file is given %d times and --offline %d times: want one for each, or none", n, len(f.offline))
	}
	for i := range max(1, len(f.offline)) {
		o, err := a.offlineKeysAt(ctx, f.shardFlags, f.targetsFlags, i)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// signRoot signs root and targets with the keys at hand, of the present root and of
// the next one, and refuses if they are too few for either.
func (r *rotating) signRoot(d rootDraft) (out stack.TUFSigned, err error) {
	before, err1 := tufroot.ParseDocument(d.root)
	after, err2 := tufroot.ParseDocument(d.Root)
	if err := errors.Join(err1, err2); err != nil {
		return out, err
	}
	out.Unchecked = r.f.unchecked
	if out.Root, err = r.signBy(d.Root, "root", before, after); err != nil || d.Targets == nil {
		return out, err
	}
	out.Targets, err = r.signBy(d.Targets, "targets", before, after)
	return out, err
}

// signBy signs a draft with the keys of a role that two roots list.
func (r *rotating) signBy(draft []byte, role string, roots ...*tufroot.Document) ([]byte, error) {
	used := map[string]bool{}
	for _, root := range roots {
		listed, err := stack.NewTUFRole(*root.Keys(role))
		if err != nil {
			return nil, err
		}
		held, err := r.signer.held(listed)
		if err != nil {
			return nil, err
		}
		if len(held) < listed.Threshold {
			return nil, fmt.Errorf("nothing was signed: %s version %d needs %d signatures of %d keys for its %s, and %d of these are at hand: "+
				"name the directories of further keys with --offline, or begin with --ceremony FOLDER", "root", root.Version, listed.Threshold, len(listed.Keys), role, len(held))
		}
		for _, key := range held {
			if used[string(key.SPKI())] {
				continue
			}
			used[string(key.SPKI())] = true
			if draft, err = tufroot.SignRole(draft, key); err != nil {
				return nil, err
			}
		}
	}
	return draft, nil
}

// held are the keys at hand that a role lists, each once.
func (s *targetsSigner) held(role stack.TUFRole) (out []keys.Key, err error) {
	found := map[string]bool{}
	for _, o := range s.at {
		held, err := o.of(role)
		if err != nil {
			return nil, err
		}
		for _, key := range held {
			if id := string(key.SPKI()); !found[id] {
				found[id] = true
				out = append(out, key)
			}
		}
	}
	return out, nil
}
