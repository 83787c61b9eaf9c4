package tlsconf

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"sigstack/internal/filewatch"
)

// minRSA is the least size of an RSA key, in bits (RFC 9325 §4.5).
const minRSA = 2048

var pemBegin = []byte("-----BEGIN ")

// decodePEM returns every block of data. Text between blocks is a comment, as
// tools write it; a damaged block is an error, never passed over.
func decodePEM(data []byte) ([]*pem.Block, error) {
	var blocks []*pem.Block
	for {
		i := bytes.Index(data, pemBegin)
		if i < 0 {
			return blocks, nil
		}
		data = data[i:]
		block, rest := pem.Decode(data)
		// pem.Decode passes over what it cannot read and takes the next block.
		if block == nil || bytes.Count(data[:len(data)-len(rest)], pemBegin) != 1 {
			return nil, fmt.Errorf("PEM block %d is damaged or cut short", len(blocks)+1)
		}
		blocks, data = append(blocks, block), rest
	}
}

// certificates returns all certificates of data, which may hold other blocks; at
// least one.
func certificates(data []byte) ([]*x509.Certificate, error) {
	blocks, err := decodePEM(data)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no PEM certificate found")
	}
	return certs, nil
}

// ReadCertificates returns all certificates of a PEM file, at least one. Text
// between them is a comment; a damaged one is an error.
func ReadCertificates(path string) ([]*x509.Certificate, error) {
	data, err := filewatch.Read(path)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	certs, err := certificates(data)
	if err != nil {
		return nil, fmt.Errorf("read certificates %s: %w", path, err)
	}
	return certs, nil
}

// privateKey returns the one private key of data, which may hold other blocks.
func privateKey(data []byte) (crypto.Signer, error) {
	blocks, err := decodePEM(data)
	if err != nil {
		return nil, err
	}
	var key crypto.Signer
	for _, b := range blocks {
		if b.Type == "CERTIFICATE" || b.Type == "EC PARAMETERS" {
			continue
		}
		if key != nil {
			return nil, errors.New("more than one private key found")
		}
		if key, err = parseKey(b); err != nil {
			return nil, err
		}
	}
	if key == nil {
		return nil, errors.New("no PEM private key found")
	}
	return key, nil
}

func parseKey(b *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "":
		return nil, errors.New("private key is encrypted: store it without a passphrase, in a file of mode 0600")
	case b.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	case b.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	case b.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	default:
		return nil, fmt.Errorf("PEM block %q is no private key", b.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return strong(key)
}

// strong returns key if it can serve TLS safely.
func strong(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < minRSA {
			return nil, fmt.Errorf("RSA key of %d bits is too weak: want %d or more", bits, minRSA)
		}
		return k, nil
	case *ecdsa.PrivateKey:
		if bits := k.Curve.Params().BitSize; bits < 256 {
			return nil, fmt.Errorf("curve %s is too weak: want P-256 or more", k.Curve.Params().Name)
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	default:
		return nil, fmt.Errorf("key of type %T cannot serve TLS", key)
	}
}
