package tlsconf

import (
	"crypto"
	"crypto/x509"
	"errors"
)

// ParsePair reads what two files hold.
func ParsePair(certificate, key []byte) ([]*x509.Certificate, crypto.Signer, error) {
	var id identity
	var err error
	if id.chain, err = certificates(certificate); err != nil {
		return nil, nil, err
	}
	if id.key, err = privateKey(key); err != nil {
		return nil, nil, err
	}
	if !id.fits() {
		return nil, nil, errors.New("key of another")
	}
	return id.chain, id.key, nil
}
