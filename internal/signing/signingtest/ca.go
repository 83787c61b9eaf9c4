package signingtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"sigstack/internal/pki"
)

// certify is POST /api/v2/signingCert: whoever the token names gets a
// certificate, if the challenge is signed.
func (s *Stack) certify(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		PublicKeyRequest struct {
			PublicKey         struct{ Content string }
			ProofOfPossession []byte
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return err
	}
	claims, err := readToken(r.Header.Get("Authorization"))
	if err != nil {
		return err
	}
	block, _ := pem.Decode([]byte(req.PublicKeyRequest.PublicKey.Content))
	if block == nil {
		return errors.New("the public key is not PEM")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	probe := x509.Certificate{PublicKey: pub, PublicKeyAlgorithm: x509.ECDSA}
	if err := probe.CheckSignature(x509.ECDSAWithSHA256, []byte(claims.Email), req.PublicKeyRequest.ProofOfPossession); err != nil {
		return errors.New("the signature supplied in the request could not be verified")
	}
	leaf, err := s.Issue(pub, claims.Email, claims.Issuer)
	if err != nil {
		return err
	}
	chain := []string{string(pki.CertificatesPEM([]*x509.Certificate{leaf}))}
	for _, c := range s.Keys.CA.Chain {
		chain = append(chain, string(pki.CertificatesPEM([]*x509.Certificate{c})))
	}
	return json.NewEncoder(w).Encode(map[string]any{
		"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": chain}},
	})
}

// Issue makes a leaf of ten minutes with an embedded SCT.
func (s *Stack) Issue(pub crypto.PublicKey, email, issuer string) (*x509.Certificate, error) {
	return s.IssueAs(pub, email, issuer, func(*x509.Certificate) {}, s.Keys.CT)
}

// IssueAs is Issue for a leaf that change makes unlike others, with an SCT by each
// of logs.
func (s *Stack) IssueAs(pub crypto.PublicKey, email, issuer string, change func(*x509.Certificate), logs ...*ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := pki.NewSerial()
	if err != nil {
		return nil, err
	}
	utf8, err := derString(issuer)
	if err != nil {
		return nil, err
	}
	start := s.Now().UTC().Truncate(time.Second)
	leaf := &x509.Certificate{
		SerialNumber:   serial,
		NotBefore:      start,
		NotAfter:       start.Add(10 * time.Minute),
		KeyUsage:       x509.KeyUsageDigitalSignature,
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		EmailAddresses: []string{email},
		ExtraExtensions: []pkix.Extension{
			{Id: pki.OIDIssuerV1, Value: []byte(issuer)},
			{Id: pki.OIDIssuer, Value: utf8},
		},
	}
	change(leaf)
	bare, err := s.signLeaf(leaf, pub)
	if err != nil || len(logs) == 0 {
		return bare, err
	}
	scts := make([][]byte, len(logs))
	for i, log := range logs {
		if scts[i], err = s.sct(bare.RawTBSCertificate, log); err != nil {
			return nil, err
		}
	}
	list, err := pki.MarshalSCTList(scts)
	if err != nil {
		return nil, err
	}
	leaf.ExtraExtensions = append(leaf.ExtraExtensions, pkix.Extension{Id: pki.OIDSCTList, Value: list})
	return s.signLeaf(leaf, pub)
}

func (s *Stack) signLeaf(leaf *x509.Certificate, pub crypto.PublicKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, leaf, s.Keys.CA.Chain[0], pub, s.Keys.CA.Key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// sct has log sign a precertificate entry of tbs (RFC 6962 §3.2) and serializes
// the answer.
func (s *Stack) sct(tbs []byte, log *ecdsa.PrivateKey) ([]byte, error) {
	spki, err := pki.MarshalPublicKey(log.Public())
	if err != nil {
		return nil, err
	}
	logID := pki.LogID(spki)
	issuerKey := sha256.Sum256(s.Keys.CA.Chain[0].RawSubjectPublicKeyInfo)
	millis := uint64(s.Now().UnixMilli())
	var signed cryptobyte.Builder
	signed.AddBytes([]byte{0, 0}) // v1, certificate_timestamp
	signed.AddUint64(millis)
	signed.AddUint16(1) // precert_entry
	signed.AddBytes(issuerKey[:])
	signed.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(tbs) })
	signed.AddUint16(0) // no extensions
	text, err := signed.Bytes()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(text)
	sig, err := log.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var sct cryptobyte.Builder
	sct.AddUint8(0)
	sct.AddBytes(logID[:])
	sct.AddUint64(millis)
	sct.AddUint16(0)
	sct.AddBytes([]byte{4, 3}) // sha256, ecdsa
	sct.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(sig) })
	return sct.Bytes()
}
