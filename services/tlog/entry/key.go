package entry

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"

	"sigstack/internal/fault"
	"sigstack/internal/pki"
)

// maxCertificates bounds a chain (contract: rekor-v1.md §7).
const maxCertificates = 10

// verifier is a public key and the canonical form of the material it came in.
type verifier struct {
	key  crypto.PublicKey  // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	pem  []byte            // canonical: 64 columns, LF, no headers, final newline
	leaf *x509.Certificate // nil for a bare key
}

// parseVerifier reads PEM: one PKIX "PUBLIC KEY", or up to ten certificates, leaf
// first, the rest its chain. Whether a chain is trusted or has expired does not
// matter; that it is one does. Text before a block is skipped, as PEM readers do.
// Every error is fault.Invalid.
func parseVerifier(material []byte) (verifier, error) {
	block, rest := pem.Decode(bytes.TrimSpace(material))
	if block == nil {
		return verifier{}, fault.New(fault.Invalid, "public key is not PEM")
	}
	switch block.Type {
	case "PUBLIC KEY":
		if len(rest) > 0 {
			return verifier{}, fault.New(fault.Invalid, "public key is followed by other data")
		}
		return parsePublicKey(block.Bytes)
	case "CERTIFICATE":
		return parseChain(block, rest)
	default:
		return verifier{}, fault.New(fault.Invalid, "public key is neither a PUBLIC KEY nor a CERTIFICATE in PEM")
	}
}

func parsePublicKey(der []byte) (verifier, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return verifier{}, fault.Wrap(fault.Invalid, err, "public key could not be parsed")
	}
	if err := checkKeyType(key); err != nil {
		return verifier{}, err
	}
	spki, err := pki.MarshalPublicKey(key) // not der: parameters may be spelt in more than one way
	if err != nil {
		return verifier{}, fault.Wrap(fault.Invalid, err, "public key could not be encoded")
	}
	return verifier{key: key, pem: pki.PublicKeyPEM(spki)}, nil
}

// PermitKey checks that the key in PEM material, read as in every kind that has
// it, may sign messages. Every error is fault.Invalid.
func (a Algorithms) PermitKey(material []byte) error {
	v, err := parseVerifier(material)
	if err != nil {
		return err
	}
	return a.permitMessage(v.key)
}

// parseChain reads the certificates that begin with block.
func parseChain(block *pem.Block, rest []byte) (verifier, error) {
	var chain []*x509.Certificate
	for {
		if len(chain) == maxCertificates {
			return verifier{}, fault.Newf(fault.Invalid, "more than %d certificates", maxCertificates)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return verifier{}, fault.Wrap(fault.Invalid, err, "certificate could not be parsed")
		}
		chain = append(chain, cert)
		if len(rest) == 0 {
			break
		}
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return verifier{}, fault.New(fault.Invalid, "certificate is followed by other data")
		}
	}
	if err := checkKeyType(chain[0].PublicKey); err != nil {
		return verifier{}, err
	}
	if err := checkChain(chain); err != nil {
		return verifier{}, err
	}
	return verifier{chain[0].PublicKey, pki.CertificatesPEM(chain), chain[0]}, nil
}

// checkChain accepts a lone certificate and a chain whose leaf leads to its
// last certificate at the moment when the leaf became valid: entries may come
// long after that.
func checkChain(chain []*x509.Certificate) error {
	if len(chain) == 1 {
		return nil
	}
	last := len(chain) - 1
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(chain[last])
	for _, c := range chain[1:last] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: between,
		CurrentTime:   chain[0].NotBefore,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "certificate chain does not verify")
	}
	return nil
}

func checkKeyType(key crypto.PublicKey) error {
	switch key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return nil
	default:
		return fault.New(fault.Invalid, "public key is of a type that cannot sign entries")
	}
}
