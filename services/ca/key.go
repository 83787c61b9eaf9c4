package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// parsePublicKey reads the key of a signed challenge: PEM labelled PUBLIC KEY or
// RSA PUBLIC KEY, or bare DER, which v1 clients send.
func parsePublicKey(data []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(data)
	switch {
	case len(data) == 0:
		return nil, errors.New("no public key")
	case block == nil:
		return parseDER(data)
	case !blank(rest):
		return nil, errors.New("data after the public key")
	case block.Type == "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return nil, fmt.Errorf("PEM label %q is not of a public key", block.Type)
	}
}

func parseDER(der []byte) (crypto.PublicKey, error) {
	pub, err := x509.ParsePKIXPublicKey(der)
	if err == nil {
		return pub, nil
	}
	if pub, rsaErr := x509.ParsePKCS1PublicKey(der); rsaErr == nil {
		return pub, nil
	}
	return nil, err
}

func blank(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c != ' ' && c != '\n' && c != '\r' && c != '\t' })
}

// checkKey is the key policy of the contract's §4. Points on no curve never get
// here: x509 refuses to parse them.
func checkKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if _, ok := curveHash(k.Curve); !ok {
			return fmt.Errorf("curve %s is not allowed", k.Curve.Params().Name)
		}
		return nil
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		return checkRSA(k)
	default:
		return fmt.Errorf("key type %T is not allowed", pub)
	}
}

// curveHash returns the hash that goes with a curve, false for curves we refuse.
func curveHash(c elliptic.Curve) (crypto.Hash, bool) {
	switch c {
	case elliptic.P256():
		return crypto.SHA256, true
	case elliptic.P384():
		return crypto.SHA384, true
	case elliptic.P521():
		return crypto.SHA512, true
	default:
		return 0, false
	}
}

// challengeHash returns the hash under a signed challenge: the key decides. It is
// 0 for Ed25519, which signs the text itself.
func challengeHash(pub crypto.PublicKey) crypto.Hash {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		h, _ := curveHash(k.Curve)
		return h
	case *rsa.PublicKey:
		return crypto.SHA256
	default:
		return 0
	}
}

// defaultAlgorithms is the allow-list of the contract's §4.
func defaultAlgorithms() []string {
	return []string{
		"ecdsa-sha2-256-nistp256", "ecdsa-sha2-384-nistp384", "ecdsa-sha2-512-nistp521",
		"rsa-sign-pkcs1-2048-sha256", "rsa-sign-pkcs1-3072-sha256", "rsa-sign-pkcs1-4096-sha256",
		"ed25519",
	}
}

// Algorithms returns every name that an allow-list may have, the default ones
// first. An RSA name of PSS allows keys of its size as that of PKCS#1 does: proofs
// by RSA keys are PKCS#1 v1.5 either way. Ed25519ph is a name of the contract's that
// no proof goes by.
func Algorithms() []string {
	return append(defaultAlgorithms(),
		"ecdsa-sha2-256-nistp384", "ecdsa-sha2-256-nistp521",
		"rsa-sign-pss-2048-sha256", "rsa-sign-pss-3072-sha256", "rsa-sign-pss-4096-sha256",
		"ed25519-ph")
}

// allowList holds names of pairs of key and hash.
type allowList []string

// newAllowList checks names; none stands for the default.
func newAllowList(names []string) (allowList, error) {
	if len(names) == 0 {
		names = defaultAlgorithms()
	}
	var list allowList
	for _, name := range names {
		if !slices.Contains(Algorithms(), name) {
			return nil, fmt.Errorf("signing algorithm %q is not known; known are %s", name, strings.Join(Algorithms(), ", "))
		}
		list = append(list, strings.Replace(name, "-pss-", "-pkcs1-", 1))
	}
	return list, nil
}

// permit reports whether the pair of key and hash is on the list.
func (l allowList) permit(pub crypto.PublicKey, h crypto.Hash) bool {
	return slices.Contains(l, algorithmName(pub, h))
}

// algorithmName returns the contract's name of a pair of key and hash, or one on
// no list.
func algorithmName(pub crypto.PublicKey, h crypto.Hash) string {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ecdsa-sha2-%d-nistp%d", h.Size()*8, k.Curve.Params().BitSize)
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-sign-pkcs1-%d-sha%d", k.N.BitLen(), h.Size()*8)
	case ed25519.PublicKey:
		return "ed25519"
	default:
		return fmt.Sprintf("%T", pub)
	}
}
