package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"sigstack/internal/pki"
)

// hashFunc is the hash of all that we sign; our keys are P-256.
const hashFunc = crypto.SHA256

// renewMargin is how much of a certificate's ten minutes must be left to start a
// signature with it: the log's time has to fall inside, after all retries.
const renewMargin = 2 * time.Minute

// maxChain is the most certificates of a CA's answer.
const maxChain = 10

// credential is a key and its certificate, which has passed the same checks as
// in a finished bundle, or a bare key of the user's.
type credential struct {
	key             crypto.Signer
	cert            *x509.Certificate   // nil for a bare key
	chain           []*x509.Certificate // above cert
	hint            string              // of a bare key
	pem             []byte              // of cert, or of the public key: what logs know it by
	subject, issuer string
	identity        *Identity // exactly subject and issuer, or the key
	renewAt         time.Time // on our clock; zero for a key of the user's, which is never renewed
}

// keyCredential is the credential of a key pair, which has to be ECDSA P-256: the
// hash that all our signatures are over fits no stronger key (contract rekor-v1 §8).
func keyCredential(key crypto.Signer) (*credential, error) {
	pub, ok := key.Public().(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key is %T; sign with an ECDSA key on curve P-256", key.Public())
	}
	if pub.Curve != elliptic.P256() {
		return nil, fmt.Errorf("the key is on curve %s; sign with an ECDSA key on curve P-256", pub.Curve.Params().Name)
	}
	spki, err := pki.MarshalPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	id, err := NewKeyIdentity(pub)
	if err != nil {
		return nil, err
	}
	return &credential{
		key: key, hint: keyHint(spki), pem: pki.PublicKeyPEM(spki), subject: id.String(), identity: id,
	}, nil
}

// keyHint names a bare key in a bundle, as cosign does: base64 of the SHA-256 of
// the DER key.
func keyHint(spki []byte) string {
	sum := sha256.Sum256(spki)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// credential returns the current credential, fetching a new one when there is
// none or it nears its end.
func (s *Session) credential(ctx context.Context) (*credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cred != nil && (s.token == nil || s.now().Before(s.cred.renewAt)) {
		return s.cred, nil
	}
	cred, err := s.fetchCredential(ctx)
	if err != nil {
		return nil, err
	}
	if s.cred != nil && (cred.subject != s.cred.subject || cred.issuer != s.cred.issuer) {
		return nil, fmt.Errorf("renew certificate: the token is now of %s, the session began as %s", cred.identity, s.cred.identity)
	}
	s.log.DebugContext(ctx, "certificate obtained", slog.String("subject", cred.subject),
		slog.Time("not_after", cred.cert.NotAfter))
	s.cred, s.before = cred, s.cred
	return cred, nil
}

// credentialOf returns the credential that a draft was made with, nil if it was not
// made by this session, or long ago.
func (s *Session) credentialOf(d Draft) *credential {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range []*credential{s.cred, s.before} {
		if c != nil && bytes.Equal(c.pem, d.Verifier) {
			return c
		}
	}
	return nil
}

// fetchCredential makes a key and has it certified.
func (s *Session) fetchCredential(ctx context.Context) (*credential, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	token, err := s.token(ctx)
	if err != nil {
		return nil, fmt.Errorf("get identity token: %w", err)
	}
	// Counted from before the request on our clock: the CA's clock may differ.
	asked := s.now()
	chain, err := s.requestCertificate(ctx, key, token)
	if err != nil {
		return nil, err
	}
	cert := chain[0]
	summary, err := s.checkCertificate(cert, key)
	if err != nil {
		var refused *RefusedError
		if errors.As(err, &refused) {
			refused.TrustRoot = s.kit.Trusted.String()
		}
		return nil, fmt.Errorf("check certificate from %s: %w", s.services.CA, err)
	}
	id, err := NewIdentity(summary.SubjectAlternativeName, "", summary.Issuer, "")
	if err != nil {
		return nil, fmt.Errorf("check certificate from %s: %w", s.services.CA, err)
	}
	lifetime := cert.NotAfter.Sub(cert.NotBefore)
	return &credential{
		key: key, cert: cert, chain: chain[1:], pem: pki.CertificatesPEM([]*x509.Certificate{cert}),
		subject: summary.SubjectAlternativeName, issuer: summary.Issuer, identity: id,
		renewAt: asked.Add(lifetime - min(renewMargin, lifetime/2)),
	}, nil
}

// requestCertificate sends the token and a signed challenge (contract ca §1, §4)
// and returns the answer's chain, leaf first.
func (s *Session) requestCertificate(ctx context.Context, key *ecdsa.PrivateKey, token string) ([]*x509.Certificate, error) {
	body, err := certificateRequest(key, token)
	if err != nil {
		return nil, err
	}
	got, err := call(ctx, s.http, request{
		service: "certificate authority", method: http.MethodPost, url: s.services.CA + "/api/v2/signingCert",
		next: "check that the identity token is fresh and from an issuer this stack trusts",
		header: http.Header{
			"Content-Type":  {"application/json"},
			"Authorization": {"Bearer " + token},
		},
		body: body,
	}, http.StatusOK, http.StatusCreated)
	if err != nil {
		return nil, err
	}
	chain, err := parseCertificateAnswer(got.body)
	if err != nil {
		return nil, fmt.Errorf("read answer of certificate authority at %s: %w", s.services.CA, err)
	}
	return chain, nil
}

// certificateRequest renders the request: the public key, and the challenge that
// token calls for, signed with the private one.
func certificateRequest(key *ecdsa.PrivateKey, token string) ([]byte, error) {
	c, err := readClaims(token)
	if err != nil {
		return nil, err
	}
	challenge, err := c.challenge()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(challenge))
	proof, err := key.Sign(rand.Reader, digest[:], hashFunc)
	if err != nil {
		return nil, fmt.Errorf("sign challenge: %w", err)
	}
	spki, err := pki.MarshalPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	type publicKey struct {
		Algorithm string `json:"algorithm"`
		Content   string `json:"content"`
	}
	type publicKeyRequest struct {
		PublicKey         publicKey `json:"publicKey"`
		ProofOfPossession []byte    `json:"proofOfPossession"`
	}
	return json.Marshal(struct {
		PublicKeyRequest publicKeyRequest `json:"publicKeyRequest"`
	}{publicKeyRequest{publicKey{"ECDSA", string(pki.PublicKeyPEM(spki))}, proof}})
}

// parseCertificateAnswer returns the chain of an answer with embedded SCT: the
// leaf and at least one certificate above it, each having signed the one before.
func parseCertificateAnswer(body []byte) ([]*x509.Certificate, error) {
	var got struct {
		Embedded *struct {
			Chain struct {
				Certificates []string `json:"certificates"`
			} `json:"chain"`
		} `json:"signedCertificateEmbeddedSct"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, fmt.Errorf("parse JSON: %w", err)
	}
	if got.Embedded == nil || len(got.Embedded.Chain.Certificates) < 2 {
		return nil, errors.New("no chain with an embedded SCT")
	}
	certs, err := pki.ParseCertificatesPEM([]byte(strings.Join(got.Embedded.Chain.Certificates, "\n")))
	if err != nil {
		return nil, err
	}
	if len(certs) != len(got.Embedded.Chain.Certificates) || len(certs) > maxChain {
		return nil, fmt.Errorf("got %d certificates in %d parts, want one each, %d at most",
			len(certs), len(got.Embedded.Chain.Certificates), maxChain)
	}
	for i, issuer := range certs[1:] {
		if err := certs[i].CheckSignatureFrom(issuer); err != nil {
			return nil, fmt.Errorf("certificate %d of the chain: %w", i, err)
		}
	}
	return certs, nil
}

// checkCertificate checks that cert is for key, chains to the trust root and
// carries a trusted log's SCT.
func (s *Session) checkCertificate(cert *x509.Certificate, key *ecdsa.PrivateKey) (certificate.Summary, error) {
	if !key.PublicKey.Equal(cert.PublicKey) {
		return certificate.Summary{}, refuse(CheckCertificate, errors.New("it is for another key"))
	}
	summary, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return certificate.Summary{}, refuse(CheckCertificate, err)
	}
	material := s.kit.Trusted.material
	chains, err := verifyLeaf(cert.NotBefore, cert, material)
	if err != nil {
		return certificate.Summary{}, refuse(CheckCertificate, err)
	}
	if err := verify.VerifySignedCertificateTimestamp(chains, 1, material); err != nil {
		return certificate.Summary{}, refuse(CheckSCT, err)
	}
	return summary, nil
}
