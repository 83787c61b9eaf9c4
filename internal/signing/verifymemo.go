package signing

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// maxProven bounds what a memo keeps of each kind.
const maxProven = 1024

// memo remembers what one trust root has proven of certificates, because the files of a
// release share one: its chain at a moment, its SCTs, and the chain of a timestamp
// authority. They follow from certificates and the root alone, neither of which changes.
// Only what passed is kept. The zero value is ready; it is safe for concurrent use.
type memo struct {
	mu     sync.Mutex
	chains map[chainAt][][]*x509.Certificate
	scts   map[[sha256.Size]byte]bool
	tsas   map[*root.SigstoreTimestampingAuthority]bool
}

// chainAt is a certificate, by the hash of its DER, at a moment, judged by the authority
// of that index in the trust root.
type chainAt struct {
	cert      [sha256.Size]byte
	unixNanos int64
	authority int
}

func (m *memo) chain(key chainAt) ([][]*x509.Certificate, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	chains, ok := m.chains[key]
	return chains, ok
}

func (m *memo) keepChain(key chainAt, chains [][]*x509.Certificate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.chains == nil || len(m.chains) >= maxProven {
		m.chains = map[chainAt][][]*x509.Certificate{}
	}
	m.chains[key] = chains
}

// hasSCTs reports whether all SCTs of cert were found good.
func (m *memo) hasSCTs(cert *x509.Certificate) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.scts[sha256.Sum256(cert.Raw)]
}

func (m *memo) keepSCTs(cert *x509.Certificate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.scts == nil || len(m.scts) >= maxProven {
		m.scts = map[[sha256.Size]byte]bool{}
	}
	m.scts[sha256.Sum256(cert.Raw)] = true
}

// hasTSA reports whether the chain of a timestamp authority of the root was found good.
func (m *memo) hasTSA(a *root.SigstoreTimestampingAuthority) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tsas[a]
}

func (m *memo) keepTSA(a *root.SigstoreTimestampingAuthority) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tsas == nil || len(m.tsas) >= maxProven {
		m.tsas = map[*root.SigstoreTimestampingAuthority]bool{}
	}
	m.tsas[a] = true
}

// rememberingMaterial is a trust root whose authorities remember chains. It is not for
// bundles that bring intermediates: upstream adds those to an authority that it knows.
type rememberingMaterial struct {
	root.TrustedMaterial
	memo *memo
}

// FulcioCertificateAuthorities returns those of the root, in its order.
func (m rememberingMaterial) FulcioCertificateAuthorities() []root.CertificateAuthority {
	authorities := m.TrustedMaterial.FulcioCertificateAuthorities()
	out := make([]root.CertificateAuthority, len(authorities))
	for i, a := range authorities {
		out[i] = rememberingAuthority{a, i, m.memo}
	}
	return out
}

// rememberingAuthority is one certificate authority of the root.
type rememberingAuthority struct {
	root.CertificateAuthority
	index int
	memo  *memo
}

// Verify returns the trusted chains of cert at that moment.
func (a rememberingAuthority) Verify(cert *x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	key := chainAt{sha256.Sum256(cert.Raw), at.UnixNano(), a.index}
	if chains, ok := a.memo.chain(key); ok {
		return chains, nil
	}
	chains, err := a.CertificateAuthority.Verify(cert, at)
	if err == nil {
		a.memo.keepChain(key, chains)
	}
	return chains, err
}

// TimestampingAuthorities returns those of the root, in its order.
func (m rememberingMaterial) TimestampingAuthorities() []root.TimestampingAuthority {
	authorities := m.TrustedMaterial.TimestampingAuthorities()
	out := make([]root.TimestampingAuthority, len(authorities))
	for i, a := range authorities {
		out[i] = a
		if known, ok := a.(*root.SigstoreTimestampingAuthority); ok && known.Leaf != nil && known.Root != nil {
			out[i] = rememberingTSA{known, m.memo}
		}
	}
	return out
}

// rememberingTSA is a timestamp authority of the root, which names the one certificate
// that signs its tokens.
type rememberingTSA struct {
	authority *root.SigstoreTimestampingAuthority
	memo      *memo
}

// Verify is the authority's. Once the chain of its certificate is proven, a token is
// checked against that certificate as its own root: signature, content, certificate and
// the times of both as ever. The proof stands at every moment at which all certificates of
// the chain are valid, since time bears on nothing else in it; at others, and for the words
// of a refusal, the whole is verified again.
func (a rememberingTSA) Verify(token, signature []byte) (*root.Timestamp, error) {
	if a.memo.hasTSA(a.authority) {
		leaf := *a.authority
		leaf.Root, leaf.Intermediates = leaf.Leaf, nil
		if t, err := leaf.Verify(token, signature); err == nil && a.within(t.Time) {
			return t, nil
		}
	}
	t, err := a.authority.Verify(token, signature)
	if err == nil && a.within(t.Time) {
		a.memo.keepTSA(a.authority)
	}
	return t, err
}

// within reports whether every certificate of the authority is valid at that moment.
func (a rememberingTSA) within(at time.Time) bool {
	valid := func(c *x509.Certificate) bool { return c != nil && !at.Before(c.NotBefore) && !at.After(c.NotAfter) }
	for _, c := range a.authority.Intermediates {
		if !valid(c) {
			return false
		}
	}
	return valid(a.authority.Leaf) && valid(a.authority.Root)
}
