package stack

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/fault"
	"sigstack/internal/pki"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// Paths of the acts on the trust root.
const (
	AdminTUF        = "/v1/tuf"         // GET: TUFStatus
	AdminTUFDraft   = "/v1/tuf/draft"   // POST TUFOrder: TUFDraft
	AdminTUFPublish = "/v1/tuf/publish" // POST TUFSigned: TUFStatus
	AdminTUFRefresh = "/v1/tuf/refresh" // POST: TUFStatus
)

// TUFStatus is the trust root as it is published.
type TUFStatus struct {
	// AwaitsRoot: the first root is to come out of a ceremony, and nothing else here is
	// set.
	AwaitsRoot  bool      `json:"awaits_root,omitempty"`
	RootSHA256  string    `json:"root_sha256,omitempty"` // of the first root, hex
	Roles       []TUFRole `json:"roles"`                 // root, targets, snapshot, timestamp
	NextRefresh time.Time `json:"next_refresh,omitzero"` // of snapshot or timestamp
	Refreshed   bool      `json:"refreshed,omitempty"`   // in the answer to refresh: something was signed
}

// TUFRole is one of its roles.
type TUFRole struct {
	Role      string    `json:"role"`
	Version   int64     `json:"version"`
	Expires   time.Time `json:"expires"`
	Life      int64     `json:"life_seconds,omitempty"`
	Threshold int       `json:"threshold"`
	Keys      []TUFKey  `json:"keys"`
}

// TUFKey is a key of a role.
type TUFKey struct {
	ID        string `json:"id"`         // hex, as TUF reckons it
	PublicKey string `json:"public_key"` // PEM
}

// TUFOrder says what is to change in the root. A role that it says nothing of stays
// as it is. Of a directory that waits for its first root it names every key of root
// and targets.
type TUFOrder struct {
	Root      TUFRoleOrder `json:"root"`
	Targets   TUFRoleOrder `json:"targets"`
	Snapshot  TUFRoleOrder `json:"snapshot"`
	Timestamp TUFRoleOrder `json:"timestamp"`
}

// TUFRoleOrder says what is to change in a role.
type TUFRoleOrder struct {
	Add       []string `json:"add,omitempty"`       // PEM of public keys
	Remove    []string `json:"remove,omitempty"`    // IDs of keys, or how they begin
	Threshold int      `json:"threshold,omitempty"` // 0: as it is
	Renew     bool     `json:"renew,omitempty"`     // of root and targets: a new version in any case
}

// TUFDraft is metadata that wants signatures, and what its signers look at.
type TUFDraft struct {
	Root    []byte         `json:"root,omitempty"`    // nil: it stays
	Targets []byte         `json:"targets,omitempty"` // likewise
	Files   []trust.Target `json:"files,omitempty"`   // that Targets names
}

// TUFSigned is a draft with its signatures.
type TUFSigned struct {
	Root    []byte `json:"root,omitempty"`
	Targets []byte `json:"targets,omitempty"`
	// Unchecked is that of a Publication.
	Unchecked []string `json:"unchecked,omitempty"`
	// Ceremony and Transcript are the ID of the ceremony and the hash of the last line
	// of its transcript, for the audit record.
	Ceremony   string `json:"ceremony,omitempty"`
	Transcript string `json:"transcript,omitempty"`
}

// tufPublished is the answer to a publication.
type tufPublished struct {
	TUFStatus

	signed TUFSigned
}

// Details are for the audit record.
func (p tufPublished) Details() map[string]string {
	out := p.TUFStatus.Details()
	for name, value := range map[string]string{"ceremony": p.signed.Ceremony, "transcript": p.signed.Transcript} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}

// Details are for the audit record.
func (d TUFDraft) Details() map[string]string {
	out := map[string]string{}
	for name, data := range map[string][]byte{"root": d.Root, "targets": d.Targets} {
		if doc, err := tufroot.ParseDocument(data); err == nil {
			out[name+"_version"], out[name+"_sha256"] = strconv.FormatInt(doc.Version, 10), doc.SHA256
		}
	}
	return out
}

// Details are for the audit record.
func (t TUFStatus) Details() map[string]string {
	out := map[string]string{}
	for _, r := range t.Roles {
		out[r.Role+"_version"] = strconv.FormatInt(r.Version, 10)
	}
	return out
}

// handleTUFActs adds the acts on the trust root.
func (s *Stack) handleTUFActs(a *admin.Server) {
	a.Handle(http.MethodGet, AdminTUF, "", func(context.Context, *http.Request) (any, error) { return s.tufStatus() })
	a.Handle(http.MethodPost, AdminTUFDraft, "tuf-draft", func(_ context.Context, r *http.Request) (any, error) {
		var order TUFOrder
		if err := readOrder(r, &order); err != nil {
			return nil, err
		}
		return s.draftTUF(order)
	})
	a.Handle(http.MethodPost, AdminTUFPublish, "tuf-publish", func(ctx context.Context, r *http.Request) (any, error) {
		var signed TUFSigned
		if err := readOrder(r, &signed); err != nil {
			return nil, err
		}
		st, err := s.publishTUF(ctx, signed)
		return tufPublished{st, signed}, err
	})
	s.handleDiffActs(a)
	s.handleOnlineActs(a)
	a.Handle(http.MethodPost, AdminTUFRefresh, "tuf-refresh", func(ctx context.Context, _ *http.Request) (any, error) { return s.refreshTUF(ctx) })
}

// mayTUF refuses acts on the trust root where it is not published.
func (s *Stack) mayTUF() error {
	switch {
	case s.repo != nil || s.awaitsRoot:
		return nil
	case s.conf.Peers != nil:
		return fault.Newf(fault.Conflict, "this is process %s of a split stack, which does not publish the trust root: name the directory of the one with section tuf", s.conf.Peers.Name)
	}
	return fault.New(fault.Conflict, "this stack publishes nothing: section tuf of config.yaml is missing")
}

func (s *Stack) tufStatus() (TUFStatus, error) {
	if err := s.mayTUF(); err != nil {
		return TUFStatus{}, err
	}
	if s.repo == nil {
		return TUFStatus{AwaitsRoot: true, Roles: []TUFRole{}}, nil
	}
	st := TUFStatus{RootSHA256: trust.RootSHA256(s.repo.RootJSON()), NextRefresh: s.repo.NextRefresh().UTC()}
	for _, r := range s.repo.Roles() {
		role, err := NewTUFRole(r)
		if err != nil {
			return TUFStatus{}, err
		}
		st.Roles = append(st.Roles, role)
	}
	return st, nil
}

// NewTUFRole tells of a role.
func NewTUFRole(r tufroot.RoleDescription) (TUFRole, error) {
	out := TUFRole{
		Role: r.Role, Version: r.Version, Expires: r.Expires.UTC(), Life: int64(r.Life.Seconds()),
		Threshold: r.Threshold, Keys: []TUFKey{},
	}
	for _, k := range r.Keys {
		spki, err := pki.MarshalPublicKey(k.Public)
		if err != nil {
			return out, fmt.Errorf("%s key %s: %w", r.Role, k.ID, err)
		}
		out.Keys = append(out.Keys, TUFKey{k.ID, string(pki.PublicKeyPEM(spki))})
	}
	return out, nil
}

// refreshTUF signs snapshot and timestamp again, due or not.
func (s *Stack) refreshTUF(ctx context.Context) (TUFStatus, error) {
	if err := s.mayTUF(); err != nil {
		return TUFStatus{}, err
	}
	if s.repo == nil {
		return TUFStatus{}, fault.New(fault.Conflict, (&AwaitsRootError{s.layout.Dir}).Error())
	}
	if err := s.signAgain(ctx); err != nil {
		return TUFStatus{}, fault.Wrap(fault.Unavailable, err, "nothing was signed")
	}
	st, err := s.tufStatus()
	st.Refreshed = err == nil
	return st, err
}

// change is what an order makes of a role that has these keys, or of none yet.
func (o TUFRoleOrder) change(role string, now tufroot.RoleDescription) (*tufroot.RoleKeys, error) {
	if len(o.Add)+len(o.Remove) == 0 && o.Threshold == 0 {
		return nil, nil //nolint:nilnil // as it is
	}
	out := &tufroot.RoleKeys{Threshold: now.Threshold}
	gone := map[string]bool{}
	for _, id := range o.Remove {
		found, err := findKey(now, id)
		if err != nil {
			return nil, fault.Newf(fault.Invalid, "%s: %v", role, err)
		}
		gone[found] = true
	}
	for _, k := range now.Keys {
		if !gone[k.ID] {
			out.Keys = append(out.Keys, k.Public)
		}
	}
	for _, text := range o.Add {
		key, err := parsePublicKeyPEM(text)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, err, role+": a key to be added cannot be read")
		}
		out.Keys = append(out.Keys, key)
	}
	if o.Threshold != 0 {
		out.Threshold = o.Threshold
	}
	if out.Threshold < 1 || out.Threshold > len(out.Keys) {
		return nil, fault.Newf(fault.Invalid, "%s: %d signatures cannot come from %d keys: give a threshold from 1 to that", role, out.Threshold, len(out.Keys))
	}
	return out, nil
}

// parsePublicKeyPEM reads one public key and nothing else.
func parsePublicKeyPEM(text string) (crypto.PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it is not one PEM block of type PUBLIC KEY")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	return key, nil
}

// leastID is how much of a key's ID is enough to name it, in characters.
const leastID = 8

// findKey finds the key of a role whose ID begins so.
func findKey(role tufroot.RoleDescription, id string) (string, error) {
	if len(id) < leastID {
		return "", fmt.Errorf("key ID %q is too short: give %d characters or more", id, leastID)
	}
	found := ""
	for _, k := range role.Keys {
		if !strings.HasPrefix(k.ID, strings.ToLower(id)) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("key ID %q is the beginning of two", id)
		}
		found = k.ID
	}
	if found == "" {
		return "", fmt.Errorf("there is no key %s: `sigstack tuf status` lists them", id)
	}
	return found, nil
}
