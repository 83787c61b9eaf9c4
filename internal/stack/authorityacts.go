package stack

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/durable"
	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// leafLife bounds the life of a leaf, and CloseAfter is how long after its chain
// issued for the last time the window in trust material ends: what was approved
// then has been signed, used and stamped by then, whatever the clocks.
const (
	leafLife   = 10 * time.Minute
	CloseAfter = time.Hour
)

// States of a chain.
const (
	ChainActive    = "active"    // it issues
	ChainRetired   = "retired"   // it issued once
	ChainPrepared  = "prepared"  // it is in the trust material
	ChainPreparing = "preparing" // it is to be published
	ChainDropped   = "dropped"   // it is in the trust material, never issued, and never will
)

// ChainStatus is one chain of an authority.
type ChainStatus struct {
	Subject  string    `json:"subject"` // of the issuing certificate
	SHA256   string    `json:"sha256"`  // likewise, hex
	Root     string    `json:"root"`    // its subject
	NotAfter time.Time `json:"not_after"`
	State    string    `json:"state"`
	Key      string    `json:"key,omitempty"` // its name in keys/
	// Path of the file of one that is prepared, as config.yaml is to name it.
	Path string `json:"path,omitempty"`
	// Published is when it went into the trust material; zero for the first, which
	// was there from the beginning.
	Published   time.Time `json:"published,omitzero"`
	Distributed time.Time `json:"distributed,omitzero"` // from when on every client has it
	Since       time.Time `json:"since,omitzero"`       // it issues
	Retired     time.Time `json:"retired,omitzero"`     // it issued until then
	End         time.Time `json:"end,omitzero"`         // clients accept nothing newer of it
}

// ChainList is all chains, the oldest first.
type ChainList struct {
	Chains []ChainStatus `json:"chains"`
}

// ChainKeyOrder says where the key of the next chain is to be.
type ChainKeyOrder struct {
	URI     string `json:"uri,omitempty"`     // "": in a file
	Create  bool   `json:"create,omitempty"`  // make one there if there is none
	Another bool   `json:"another,omitempty"` // also when a chain is prepared that has not issued yet
}

// ChainKey is a key that waits for its certificate.
type ChainKey struct {
	Name    string    `json:"name"`
	SPKI    []byte    `json:"spki"`
	Created time.Time `json:"created"`
	Chain   []byte    `json:"chain"` // PEM: the one that issues now
	// Drafted is a chain of this key that a prepare has left, PEM: signers of it may
	// have come together already.
	Drafted []byte `json:"drafted,omitempty"`
}

// ChainOrder is a chain to be published.
type ChainOrder struct {
	Certificates []byte `json:"certificates"`      // PEM, the issuing one first
	Key          string `json:"key"`               // its name in keys/
	Another      bool   `json:"another,omitempty"` // as of ChainKeyOrder
}

// ChainDraft is a change of the published chains that waits for a signature.
type ChainDraft struct {
	ChainList

	Path    string `json:"path,omitempty"` // of the new chain's file, for config.yaml
	Targets []byte `json:"targets"`        // TUF metadata, to be signed by Sign
}

// Details are for the audit record.
func (l ChainList) Details() map[string]string {
	last := l.Chains[len(l.Chains)-1]
	return map[string]string{"chains": fmt.Sprint(len(l.Chains)), "newest": last.SHA256, "newest_subject": last.Subject, "newest_state": last.State}
}

// Details are for the audit record.
func (k ChainKey) Details() map[string]string { return map[string]string{"key": k.Name} }

// handleChainActs adds the acts on the chains of both authorities.
func (s *Stack) handleChainActs(server *admin.Server) {
	for _, a := range s.both() {
		a.handleActs(server)
	}
}

func (a *authority) handleActs(server *admin.Server) {
	paths, name := a.of.Paths(), a.of.String()+"-chain-"
	server.Handle(http.MethodGet, paths.List, "", func(context.Context, *http.Request) (any, error) { return a.list() })
	server.Handle(http.MethodPost, paths.Key, name+"key", func(_ context.Context, r *http.Request) (any, error) {
		var order ChainKeyOrder
		if err := readOrder(r, &order); err != nil {
			return nil, err
		}
		return a.nextKey(order)
	})
	server.Handle(http.MethodPost, paths.Prepare, name+"prepare", func(_ context.Context, r *http.Request) (any, error) {
		var order ChainOrder
		if err := readOrder(r, &order); err != nil {
			return nil, err
		}
		return a.prepare(order)
	})
	server.Handle(http.MethodGet, paths.Close, "", func(_ context.Context, r *http.Request) (any, error) {
		return a.wouldClose(r.URL.Query().Has(unusedQuery))
	})
	server.Handle(http.MethodPost, paths.Close, name+"close", func(_ context.Context, r *http.Request) (any, error) {
		return a.close(r.URL.Query().Has(unusedQuery))
	})
	server.Handle(http.MethodPost, paths.Publish, name+"publish", func(ctx context.Context, r *http.Request) (any, error) {
		var signed Publication
		if err := readOrder(r, &signed); err != nil {
			return nil, err
		}
		return a.publish(ctx, signed)
	})
}

// list tells of all chains.
func (a *authority) list() (ChainList, error) {
	present := a.present()
	if present == nil {
		return ChainList{}, fault.Newf(fault.NotFound, "this process has no %s", a.of.noun())
	}
	list, draft := a.chains.all()
	at := find(list, present)
	out := ChainList{Chains: []ChainStatus{}}
	for i, c := range a.ended(list) {
		state := ChainRetired
		switch {
		case i == at:
			state = ChainActive
		case c.Since.IsZero() && !c.End.IsZero():
			state = ChainDropped
		case c.Since.IsZero():
			state = ChainPrepared
		}
		out.Chains = append(out.Chains, c.status(state))
	}
	for _, c := range draft {
		if find(list, c.certs) < 0 {
			out.Chains = append(out.Chains, c.status(ChainPreparing))
		}
	}
	return out, nil
}

func (c signChain) status(state string) ChainStatus {
	root := c.certs[len(c.certs)-1]
	path := ""
	if state == ChainPrepared {
		path = chainPath(c.Key)
	}
	return ChainStatus{
		Subject: c.certs[0].Subject.String(), SHA256: fingerprint(c.certs[0]), Root: root.Subject.String(), NotAfter: c.certs[0].NotAfter.UTC(),
		State: state, Key: c.Key, Path: path, Published: c.Published, Distributed: c.Distributed, Since: c.Since, Retired: c.Retired, End: c.End,
	}
}

// nextKey makes the key of the next chain, or takes the one of that name that is
// there: of an interrupted try, or because an operator put it there.
func (a *authority) nextKey(order ChainKeyOrder) (ChainKey, error) {
	if err := a.mayAct(); err != nil {
		return ChainKey{}, err
	}
	if err := a.mayAdd(order.Another); err != nil {
		return ChainKey{}, err
	}
	list, _ := a.chains.all()
	name := fmt.Sprintf("%s-%d", a.of, len(list)+1)
	if err := a.mayTakeKey(name); err != nil {
		return ChainKey{}, err
	}
	key, err := a.s.keys.Load(name)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = a.s.newKeyAt(name, order.URI, order.Create)
	}
	switch {
	case err != nil:
		return ChainKey{}, fault.Wrap(fault.Invalid, err, "the next chain has no key")
	case order.URI != "" && key.URI() != order.URI:
		return ChainKey{}, fault.Newf(fault.Conflict, "key %s is there already, at another place (%s): leave the place out to use it", name, placeOf(key))
	}
	if err := key.Test(); err != nil {
		return ChainKey{}, fault.Wrap(fault.Unavailable, err, "key of the next chain does not work")
	}
	next := ChainKey{Name: name, SPKI: key.SPKI(), Created: key.Created, Chain: pki.CertificatesPEM(a.present())}
	_, draft := a.chains.all()
	if i := slices.IndexFunc(draft, func(c signChain) bool { return c.Key == name }); i >= 0 {
		next.Drafted = []byte(draft[i].Certificates)
	}
	return next, nil
}

// prepare drafts what publishes a chain, whose key is here, and lets the rest of the
// stack know of it. Nothing issues with it yet. It can be repeated at any point: what
// an interrupted try has left is a draft, which the next one replaces.
func (a *authority) prepare(order ChainOrder) (ChainDraft, error) {
	if err := a.mayAct(); err != nil {
		return ChainDraft{}, err
	}
	certs, err := a.checkNew(order)
	if err != nil {
		return ChainDraft{}, err
	}
	path := chainPath(order.Key)
	if err := durable.WriteFile(a.s.layout.path(path), pki.CertificatesPEM(certs), 0o644); err != nil {
		return ChainDraft{}, err
	}
	list, _ := a.chains.all()
	draft, err := a.noteDraft(append(slices.Clone(list), newChain(certs, order.Key)))
	draft.Path = path
	return draft, err
}

// checkNew refuses a chain that the service would refuse, or that is known.
func (a *authority) checkNew(order ChainOrder) ([]*x509.Certificate, error) {
	certs, err := pki.ParseCertificatesPEM(order.Certificates)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the chain cannot be read")
	}
	list, _ := a.chains.all()
	if find(list, certs) >= 0 {
		return nil, fault.Newf(fault.Conflict, "the chain of %s is published already", certs[0].Subject)
	}
	if err := a.mayAdd(order.Another); err != nil {
		return nil, err
	}
	if err := a.mayTakeKey(order.Key); err != nil {
		return nil, err
	}
	key, err := a.s.keys.Load(order.Key)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the chain's key cannot be used")
	}
	if err := a.check(certs, key); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the chain cannot be used")
	}
	if i := slices.IndexFunc(certs, isTest); i >= 0 && !a.s.test() {
		return nil, fault.Newf(fault.Invalid, "certificate %s is a test stack's", certs[i].Subject)
	}
	return certs, nil
}

// noteDraft notes what the published chains are to be, and drafts it.
func (a *authority) noteDraft(draft []signChain) (ChainDraft, error) {
	list, _ := a.chains.all()
	if err := a.chains.set(list, draft); err != nil {
		return ChainDraft{}, err
	}
	if err := a.known(); err != nil {
		return ChainDraft{}, err
	}
	return a.draft(draft)
}

// draft drafts what publishes those chains.
func (a *authority) draft(chains []signChain) (ChainDraft, error) {
	targets, err := a.materialOf(chains).Targets(a.s.opts.Now())
	if err != nil {
		return ChainDraft{}, err
	}
	metadata, err := a.s.repo.DraftTargets(targets)
	if err != nil {
		return ChainDraft{}, err
	}
	all, err := a.list()
	return ChainDraft{ChainList: all, Targets: metadata}, err
}

// materialOf is the material with other chains of the authority.
func (a *authority) materialOf(chains []signChain) trust.Material {
	m := a.s.material()
	*a.of.in(&m) = a.authorities(chains)
	return m
}

// publish puts the draft into the trust material, signed. A crash after the last
// write of the repository, and before the file of chains tells of it, is found and
// noted by the next start.
func (a *authority) publish(ctx context.Context, signed Publication) (ChainList, error) {
	if err := a.mayAct(); err != nil {
		return ChainList{}, err
	}
	_, draft := a.chains.all()
	if draft == nil {
		return ChainList{}, fault.New(fault.Conflict, "no change of the chains waits to be published: prepare one")
	}
	if i := find(draft, a.present()); i < 0 || !draft[i].End.IsZero() {
		return ChainList{}, fault.New(fault.Conflict, "nothing was published: the change would end the chain that issues now. Prepare or close again, for the chains as they are")
	}
	before := a.s.distributed(a.s.repo, a.s.opts.Now())
	err := a.s.publishTargets(ctx, a.materialOf(draft), signed)
	if errors.Is(err, tufroot.ErrStale) {
		return ChainList{}, fault.Wrap(fault.Conflict, err, "prepare the chain again")
	}
	if err != nil {
		return ChainList{}, fault.Wrap(fault.Invalid, err, "nothing was published")
	}
	if err := a.published(draft, a.s.repo, before); err != nil {
		return ChainList{}, err
	}
	if err := a.s.writeKit(a.s.repo); err != nil {
		return ChainList{}, fmt.Errorf("the chains are published, but the client kit could not be written: %w", err)
	}
	return a.list()
}

// published notes that a draft is out, and that its new chains are with every
// client not before a moment.
func (a *authority) published(draft []signChain, repo *tufroot.Repository, earliest time.Time) error {
	list, _ := a.chains.all()
	now := a.s.opts.Now().UTC().Truncate(time.Second)
	distributed := a.s.distributed(repo, a.s.opts.Now())
	if earliest.After(distributed) {
		distributed = earliest
	}
	distributed = distributed.Add(time.Second - 1).Truncate(time.Second)
	draft = slices.Clone(draft)
	for i, c := range draft {
		if find(list, c.certs) < 0 {
			draft[i].Published, draft[i].Distributed = now, distributed.UTC()
		}
	}
	return a.chains.set(draft, nil)
}

// setCTRoots lets the CT log of this process take what every chain may issue.
func (s *Stack) setCTRoots() error {
	if s.services.ctlog == nil {
		return nil
	}
	roots, err := s.ctRoots()
	if err != nil {
		return err
	}
	if err := s.services.ctlog.SetRoots(roots); err != nil {
		return fmt.Errorf("the CT log does not take the roots: %w", err)
	}
	return nil
}

// newKeyAt makes a key in a file or, if uri says so, elsewhere.
func (s *Stack) newKeyAt(name, uri string, create bool) (keys.Key, error) {
	return s.newShardKey(name, ShardOrder{URI: uri, Create: create})
}
