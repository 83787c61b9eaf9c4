package stack

import (
	"crypto/x509"
	"fmt"
	"path/filepath"

	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/trust"
)

// Authority is a service that signs with a chain of certificates, which clients know
// before. What goes on with chains is the same for both: published, used, retired,
// closed (docs/decisions/0016-chains-of-the-authority.md).
type Authority int

// The authorities of a stack.
const (
	CA  Authority = iota // the certificate authority
	TSA                  // the timestamp authority
)

// Paths of the acts on the chains of the certificate authority.
const (
	AdminChains       = "/v1/ca/chains"         // GET: ChainList
	AdminChainKey     = "/v1/ca/chains/key"     // POST ChainKeyOrder: ChainKey
	AdminChainPrepare = "/v1/ca/chains/prepare" // POST ChainOrder: ChainDraft
	AdminChainClose   = "/v1/ca/chains/close"   // POST: ChainDraft; GET: what that would be; see CloseUnused
	AdminChainPublish = "/v1/ca/chains/publish" // POST SignedTargets: ChainList
)

// Paths of the same acts on those of the timestamp authority.
const (
	AdminTSAChains       = "/v1/tsa/chains"
	AdminTSAChainKey     = "/v1/tsa/chains/key"
	AdminTSAChainPrepare = "/v1/tsa/chains/prepare"
	AdminTSAChainClose   = "/v1/tsa/chains/close"
	AdminTSAChainPublish = "/v1/tsa/chains/publish"
)

// ChainPaths are those of the acts on the chains of one authority.
type ChainPaths struct{ List, Key, Prepare, Close, Publish string }

// CloseUnused is Close for chains that were published and never issued.
func (p ChainPaths) CloseUnused() string { return p.Close + "?" + unusedQuery + "=true" }

// Paths are those of the acts on its chains.
func (of Authority) Paths() ChainPaths {
	if of == TSA {
		return ChainPaths{AdminTSAChains, AdminTSAChainKey, AdminTSAChainPrepare, AdminTSAChainClose, AdminTSAChainPublish}
	}
	return ChainPaths{AdminChains, AdminChainKey, AdminChainPrepare, AdminChainClose, AdminChainPublish}
}

// String is the name of its section in config.yaml and, unless the operator chose
// others, of its keys: ca or tsa.
func (of Authority) String() string {
	if of == TSA {
		return "tsa"
	}
	return "ca"
}

// noun is what it is called in sentences.
func (of Authority) noun() string {
	if of == TSA {
		return "timestamp authority"
	}
	return "certificate authority"
}

// member is that of a trusted root with its chains.
func (of Authority) member() string {
	if of == TSA {
		return "timestampAuthorities"
	}
	return "certificateAuthorities"
}

// file lists its chains.
func (of Authority) file(l Layout) string {
	if of == TSA {
		return l.TSAChains()
	}
	return l.Chains()
}

// Chains is the file with the chains of the certificate authority.
func (l Layout) Chains() string { return filepath.Join(l.Dir, "chains.json") }

// TSAChains is the file with the chains of the timestamp authority.
func (l Layout) TSAChains() string { return filepath.Join(l.Dir, "tsa-chains.json") }

// settings are the chain and key that a configuration names for it.
func (of Authority) settings(c *config.Config) (chain, key string, ok bool) {
	switch {
	case of == CA && c.CA != nil:
		return c.CA.Chain, c.CA.Key, true
	case of == TSA && c.TSA != nil:
		return c.TSA.Chain, c.TSA.Key, true
	}
	return "", "", false
}

// authority is what a stack has of one.
type authority struct {
	s      *Stack
	of     Authority
	uri    func() string // that trust material has with its chains
	chains *chainSet
	key    keys.Key // that it signs with

	// present is the chain that it signs with; nil if this process does not run it.
	present func() []*x509.Certificate
	// check refuses what the service would not go over to.
	check func([]*x509.Certificate, keys.Key) error
	// known lets the rest of the stack know of the chains that a draft has.
	known func() error
}

// both are the authorities, whether this process runs them or not.
func (s *Stack) both() []*authority { return []*authority{s.ca, s.tsa} }

// in is the list of material with its chains.
func (of Authority) in(m *trust.Material) *[]trust.Authority {
	if of == TSA {
		return &m.TSAs
	}
	return &m.CAs
}

// openChains reads the chains of both authorities.
func (s *Stack) openChains() error {
	s.ca, s.tsa = newCA(s), newTSA(s)
	for _, a := range s.both() {
		if err := a.open(); err != nil {
			return err
		}
	}
	return nil
}

// open reads the chains. Without the file there is the one in config.yaml.
func (a *authority) open() error {
	a.chains = &chainSet{file: a.of.file(a.s.layout)}
	list, draft, err := a.of.readChains(a.s.layout)
	if err != nil {
		return err
	}
	if file, key, ok := a.of.settings(a.s.conf); ok && list == nil {
		certs, err := a.s.layout.chain(file)
		if err != nil {
			return fmt.Errorf("%s.chain: %w", a.of, err)
		}
		list = []signChain{newChain(certs, key)}
		list[0].Since = certs[0].NotBefore
	}
	a.chains.list, a.chains.draft = list, draft
	return a.settle()
}

// authorities are chains as trust material has them.
func (a *authority) authorities(list []signChain) (out []trust.Authority) {
	for _, c := range a.ended(list) {
		out = append(out, trust.Authority{URI: a.uri(), Chain: c.certs, Window: trust.Window{Start: c.certs[0].NotBefore, End: c.End}})
	}
	return out
}

// addTo adds its published chains to material, and the service: that is as old as its
// first chain, whichever signs.
func (a *authority) addTo(m *trust.Material, services *[]trust.Service) {
	if a.present() == nil {
		return
	}
	list, _ := a.chains.all()
	all := a.authorities(list)
	*a.of.in(m) = append(*a.of.in(m), all...)
	*services = append(*services, trust.Service{URL: a.uri(), APIVersion: 1, Window: trust.Window{Start: all[0].Window.Start}})
}
