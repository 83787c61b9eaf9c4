package stack

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"time"

	"sigstack/internal/keys"
	"sigstack/internal/pki"
)

// chainMaker issues the first certificates of a stack from stored keys.
type chainMaker struct {
	service, offline *keys.Store
	name             func(role string) pkix.Name
	notBefore        time.Time
}

// ca returns the issuing certificate and its root.
func (m chainMaker) ca() ([]*x509.Certificate, error) {
	root, rootKey, err := m.root(keyCARoot, "root")
	if err != nil {
		return nil, err
	}
	key, err := m.service.Load(keyCA)
	if err != nil {
		return nil, err
	}
	inter, err := pki.NewIntermediate(root, rootKey, key.Public(), m.name("CA"), x509.ExtKeyUsageCodeSigning, m.notBefore)
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{inter, root}, nil
}

// tsa returns the timestamp leaf, its intermediate and a root of its own, which
// is not the code-signing CA's (contract: tsa-and-others.md §1).
func (m chainMaker) tsa() ([]*x509.Certificate, error) {
	root, rootKey, err := m.root(keyTSARoot, "timestamp root")
	if err != nil {
		return nil, err
	}
	interKey, err := m.offline.Load(keyTSAInter)
	if err != nil {
		return nil, err
	}
	inter, err := pki.NewIntermediate(root, rootKey, interKey.Public(), m.name("timestamp CA"), x509.ExtKeyUsageTimeStamping, m.notBefore)
	if err != nil {
		return nil, err
	}
	key, err := m.service.Load(keyTSA)
	if err != nil {
		return nil, err
	}
	leaf, err := pki.NewTimestampLeaf(inter, interKey, key.Public(), m.name("timestamp authority"), m.notBefore)
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{leaf, inter, root}, nil
}

// tls returns the internal authority for TLS, which can certify host and this
// machine only, and its root.
func (m chainMaker) tls(host string) ([]*x509.Certificate, error) {
	root, rootKey, err := m.root(keyTLSRoot, "TLS root")
	if err != nil {
		return nil, err
	}
	key, err := m.service.Load(keyTLSCA)
	if err != nil {
		return nil, err
	}
	inter, err := pki.NewTLSIntermediate(root, rootKey, key.Public(), m.name("TLS CA"), host, m.notBefore)
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{inter, root}, nil
}

func (m chainMaker) root(key, role string) (*x509.Certificate, keys.Key, error) {
	k, err := m.offline.Load(key)
	if err != nil {
		return nil, keys.Key{}, err
	}
	cert, err := pki.NewRoot(k, m.name(role), m.notBefore)
	return cert, k, err
}
