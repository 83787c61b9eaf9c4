package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"sigstack/internal/fault"
)

// The sentences of the contract's §9 about keys and proofs.
const (
	badCSR       = "The certificate signing request could not be parsed"
	badKey       = "The public key supplied in the request could not be parsed"
	weakKey      = "The public key supplied in the request is insecure"
	badSignature = "The signature supplied in the request could not be verified"
	badAlgorithm = "signing algorithm not permitted for this key"
)

// refusedKey refuses a request for its key or proof, with the cause for programs.
// What was found is left out: it is a stranger's, and says no more than the sentence.
func refusedKey(err error, public string) error {
	check, reason := "key", ""
	switch public {
	case badCSR:
		reason = "CSR_MALFORMED"
	case badKey:
		reason = "PUBLIC_KEY_MALFORMED"
	case weakKey:
		reason = "PUBLIC_KEY_INSECURE"
	case badSignature:
		check, reason = "proof_of_possession", "PROOF_INVALID"
	}
	return fault.Because(fault.Wrap(fault.Invalid, err, public), fault.Detail{Reason: reason, Metadata: map[string]string{"check": check}})
}

// refused is for a pair of key and hash that is not on the list.
func (l allowList) refused() error {
	return fault.Because(fault.New(fault.Invalid, badAlgorithm), fault.Detail{
		Reason: "ALGORITHM_NOT_PERMITTED", Metadata: map[string]string{"check": "key", "expected": strings.Join(l, " or ")},
	})
}

// provenKey returns the key that the request proves possession of, by a CSR if
// there is one, else by a signature over one of challenges. Errors are
// fault.Invalid.
func (s *state) provenKey(req Request, challenges []string) (crypto.PublicKey, error) {
	if len(req.CSR) > 0 {
		return s.keyOfCSR(req.CSR)
	}
	pub, err := parsePublicKey(req.PublicKey)
	if err != nil {
		return nil, refusedKey(err, badKey)
	}
	if err := checkKey(pub); err != nil {
		return nil, refusedKey(err, weakKey)
	}
	hash := challengeHash(pub)
	if !s.algorithms.permit(pub, hash) {
		return nil, s.algorithms.refused()
	}
	for _, challenge := range challenges {
		if verifies(pub, hash, []byte(challenge), req.Proof) {
			return pub, nil
		}
	}
	return nil, refusedKey(nil, badSignature)
}

func (s *state) keyOfCSR(text []byte) (crypto.PublicKey, error) {
	csr, err := parseCSR(text)
	if err != nil {
		return nil, refusedKey(err, badCSR)
	}
	pub, err := x509.ParsePKIXPublicKey(csr.spki)
	if err != nil {
		return nil, refusedKey(err, badKey)
	}
	if err := checkKey(pub); err != nil {
		return nil, refusedKey(err, weakKey)
	}
	hash, ok := signatureHash(pub, csr.algorithm)
	if !ok || !s.algorithms.permit(pub, hash) {
		return nil, s.algorithms.refused()
	}
	if !verifies(pub, hash, csr.signed, csr.signature) {
		return nil, refusedKey(nil, badSignature)
	}
	return pub, nil
}

// verifies checks a signature: ECDSA as ASN.1, RSA as PKCS#1 v1.5, Ed25519 pure.
func verifies(pub crypto.PublicKey, hash crypto.Hash, message, signature []byte) bool {
	digest := message
	if hash != 0 {
		h := hash.New()
		h.Write(message)
		digest = h.Sum(nil)
	}
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return hash != 0 && ecdsa.VerifyASN1(k, digest, signature)
	case *rsa.PublicKey:
		return hash != 0 && rsa.VerifyPKCS1v15(k, hash, digest, signature) == nil
	case ed25519.PublicKey:
		return hash == 0 && ed25519.Verify(k, message, signature)
	default:
		return false
	}
}

// certificateRequest is what we need of a PKCS#10 request (RFC 2986 §4). All
// parts but signature are DER.
type certificateRequest struct {
	signed    []byte
	spki      []byte
	algorithm asn1.ObjectIdentifier
	signature []byte
}

// parseCSR reads a PEM request. The subject and the attributes are stepped over,
// not parsed: they mean nothing here, and some clients encode them wrongly.
func parseCSR(text []byte) (certificateRequest, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return certificateRequest{}, errors.New("not PEM")
	case block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST":
		return certificateRequest{}, fmt.Errorf("PEM label %q is not of a certificate request", block.Type)
	case !blank(rest):
		return certificateRequest{}, errors.New("data after the certificate request")
	}
	return parseCSRDER(block.Bytes)
}

func parseCSRDER(der []byte) (certificateRequest, error) {
	var csr certificateRequest
	var request, signed, info, spki, algorithm cryptobyte.String
	input := cryptobyte.String(der)
	if !input.ReadASN1(&request, cbasn1.SEQUENCE) || !input.Empty() ||
		!request.ReadASN1Element(&signed, cbasn1.SEQUENCE) ||
		!request.ReadASN1(&algorithm, cbasn1.SEQUENCE) ||
		!algorithm.ReadASN1ObjectIdentifier(&csr.algorithm) ||
		!request.ReadASN1BitStringAsBytes(&csr.signature) || !request.Empty() {
		return csr, errors.New("not a certificate request")
	}
	csr.signed = signed
	var version int
	attributes := cbasn1.Tag(0).ContextSpecific().Constructed()
	if !signed.ReadASN1(&info, cbasn1.SEQUENCE) ||
		!info.ReadASN1Integer(&version) || version != 0 ||
		!info.SkipASN1(cbasn1.SEQUENCE) || // subject
		!info.ReadASN1Element(&spki, cbasn1.SEQUENCE) ||
		!info.SkipOptionalASN1(attributes) || !info.Empty() {
		return csr, errors.New("not certificate request information")
	}
	csr.spki = spki
	return csr, nil
}

// signatureHash returns the hash of a request's signature algorithm, 0 for
// Ed25519; false for one that does not go with the key or is never allowed, such
// as SHA-1 and PSS.
func signatureHash(pub crypto.PublicKey, algorithm asn1.ObjectIdentifier) (crypto.Hash, bool) {
	var names []string // for SHA-256, SHA-384, SHA-512
	switch pub.(type) {
	case *ecdsa.PublicKey: // RFC 5758 §3.2
		names = []string{"1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3", "1.2.840.10045.4.3.4"}
	case *rsa.PublicKey: // RFC 8017 §A.2.4
		names = []string{"1.2.840.113549.1.1.11", "1.2.840.113549.1.1.12", "1.2.840.113549.1.1.13"}
	default: // RFC 8410 §3
		return 0, algorithm.String() == "1.3.101.112"
	}
	i := slices.Index(names, algorithm.String())
	if i < 0 {
		return 0, false
	}
	return []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}[i], true
}
