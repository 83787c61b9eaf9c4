package entry

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"math/big"
	"slices"

	"sigstack/internal/fault"
)

// Algorithm is a kind of key with the hash it signs, named as in the trusted
// root's key details.
type Algorithm string

// The algorithms. A hashedrekord needs exactly one of them: its Ed25519 is
// Ed25519ph, since the log sees a digest only. A dsse envelope is always signed
// over SHA-256 (or with pure Ed25519), so that there an algorithm admits its key.
const (
	RSA2048   Algorithm = "PKIX_RSA_PKCS1V15_2048_SHA256"
	RSA3072   Algorithm = "PKIX_RSA_PKCS1V15_3072_SHA256"
	RSA4096   Algorithm = "PKIX_RSA_PKCS1V15_4096_SHA256"
	ECDSAP256 Algorithm = "PKIX_ECDSA_P256_SHA_256"
	ECDSAP384 Algorithm = "PKIX_ECDSA_P384_SHA_384"
	ECDSAP521 Algorithm = "PKIX_ECDSA_P521_SHA_512"
	Ed25519   Algorithm = "PKIX_ED25519"
	Ed25519ph Algorithm = "PKIX_ED25519_PH"
)

// Algorithms is the set that may be used in new entries.
type Algorithms []Algorithm

// DefaultAlgorithms returns all of them (contract: rekor-v1.md §8).
func DefaultAlgorithms() Algorithms {
	return Algorithms{RSA2048, RSA3072, RSA4096, ECDSAP256, ECDSAP384, ECDSAP521, Ed25519, Ed25519ph}
}

// permitDigest checks that key may sign a digest made with hash.
func (a Algorithms) permitDigest(key crypto.PublicKey, hash crypto.Hash) error {
	alg, want := algorithmOf(key)
	if alg == Ed25519 {
		alg, want = Ed25519ph, crypto.SHA512
	}
	if !slices.Contains(a, alg) {
		return fault.New(fault.Invalid, "public key is of a type or size that is not permitted")
	}
	if hash != want {
		return fault.Newf(fault.Invalid, "a key of this type must sign a %v digest, not %v", want, hash)
	}
	return nil
}

// permitMessage checks that key may sign a message.
func (a Algorithms) permitMessage(key crypto.PublicKey) error {
	if alg, _ := algorithmOf(key); !slices.Contains(a, alg) {
		return fault.New(fault.Invalid, "public key is of a type or size that is not permitted")
	}
	return nil
}

// algorithmOf names key's algorithm and its hash; "" if there is none, which
// covers keys that are too weak: RSA under 2048 bits, P-224.
func algorithmOf(key crypto.PublicKey) (Algorithm, crypto.Hash) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return rsaAlgorithm(k), crypto.SHA256
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return ECDSAP256, crypto.SHA256
		case elliptic.P384():
			return ECDSAP384, crypto.SHA384
		case elliptic.P521():
			return ECDSAP521, crypto.SHA512
		}
	case ed25519.PublicKey:
		return Ed25519, 0
	}
	return "", 0
}

func rsaAlgorithm(k *rsa.PublicKey) Algorithm {
	switch k.N.BitLen() {
	case 2048:
		return RSA2048
	case 3072:
		return RSA3072
	case 4096:
		return RSA4096
	default:
		return ""
	}
}

// verifyDigest reports whether sig is key's signature over digest: PKCS #1 v1.5,
// ECDSA in ASN.1 DER or IEEE P1363, or Ed25519ph.
func verifyDigest(key crypto.PublicKey, hash crypto.Hash, digest, sig []byte) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, hash, digest, sig) == nil
	case *ecdsa.PublicKey:
		return verifyECDSA(k, digest, sig)
	case ed25519.PublicKey:
		return ed25519.VerifyWithOptions(k, digest, sig, &ed25519.Options{Hash: crypto.SHA512}) == nil
	default:
		return false
	}
}

// verifyECDSA takes P1363 too, which is what browsers' WebCrypto makes; clients
// that verify entries know both.
func verifyECDSA(key *ecdsa.PublicKey, digest, sig []byte) bool {
	if ecdsa.VerifyASN1(key, digest, sig) {
		return true
	}
	size := (key.Curve.Params().BitSize + 7) / 8
	if len(sig) != 2*size {
		return false
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:]),
	})
	return err == nil && ecdsa.VerifyASN1(key, digest, der)
}
