package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/audit/audittest"
	"sigstack/internal/httpd"
	"sigstack/internal/pki"
	"sigstack/services/ca/catest"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/identity/identitytest"
	"sigstack/services/ca/sct"
)

// fixture is a certificate authority with an issuer of tokens and a log of its
// own. Its clock stands still.
type fixture struct {
	now      time.Time
	issuer   *identitytest.Issuer
	root     *x509.Certificate
	signer   *ecdsa.PrivateKey
	log      *catest.Log
	registry *prometheus.Registry
	logged   *bytes.Buffer // what the authority's own log says
	record   *audittest.Record
	cfg      Config
	service  *Service
	mux      *httpd.Mux
}

// newFixture starts an authority that trusts one issuer of type email, after
// change had its way with the configuration.
func newFixture(t testing.TB, change func(*fixture)) *fixture {
	t.Helper()
	f := &fixture{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), registry: prometheus.NewRegistry(), logged: &bytes.Buffer{}, record: &audittest.Record{}}
	now := func() time.Time { return f.now }
	f.issuer = identitytest.New(t, now)
	chain, signer := catest.NewChain(t, f.now)
	f.root, f.signer = chain[1], signer
	f.log = catest.NewLog(t, f.now)
	f.cfg = Config{
		Chain: chain, Signer: f.signer, CTLogs: []sct.Log{{Name: "ctlog", Key: f.log.SPKI, Submit: f.log.Submit}},
		Issuers: []identity.Issuer{{URL: f.issuer.URL, ClientID: identitytest.ClientID, Type: identity.Email}},
		Audit:   f.record.Add, AuditReady: f.record.Ready,
		URL: "http://localhost:8080", Now: now, Metrics: f.registry,
		Log: slog.New(slog.NewTextHandler(f.logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(f)
	}
	var err error
	if f.service, err = New(f.cfg); err != nil {
		t.Fatal(err)
	}
	f.mux = httpd.NewMux(httpd.MuxConfig{Log: f.cfg.Log, Metrics: prometheus.NewRegistry(), Now: now})
	f.service.Mount(f.mux)
	return f
}

// ofType makes the fixture's issuer one of another type.
func ofType(kind identity.Type, subjectDomain string) func(*fixture) {
	return func(f *fixture) {
		f.cfg.Issuers[0].Type, f.cfg.Issuers[0].SubjectDomain = kind, subjectDomain
	}
}

func newECDSA(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEd25519(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign signs a challenge as clients do.
func sign(t testing.TB, key crypto.Signer, challenge string) []byte {
	t.Helper()
	hash := challengeHash(key.Public())
	digest := []byte(challenge)
	if hash != 0 {
		h := hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	signature, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func publicPEM(t testing.TB, pub crypto.PublicKey) string {
	t.Helper()
	spki, err := pki.MarshalPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pki.PublicKeyPEM(spki))
}

// alice are the changes that make an ordinary token one of an email issuer.
func alice() map[string]any {
	return map[string]any{"email": "alice@example.com", "email_verified": true}
}

// object is a JSON object.
type object = map[string]any

// challengeBody is a v2 request proving key by a signature over challenge.
func challengeBody(t testing.TB, key crypto.Signer, challenge string) object {
	t.Helper()
	return object{"publicKeyRequest": object{
		"publicKey":         object{"algorithm": "ECDSA", "content": publicPEM(t, key.Public())},
		"proofOfPossession": sign(t, key, challenge),
	}}
}

// csrBody is a v2 request with a certificate request signed by key.
func csrBody(t testing.TB, key crypto.Signer, algorithm x509.SignatureAlgorithm) object {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "ignored"}, DNSNames: []string{"ignored.example"}, SignatureAlgorithm: algorithm,
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return csrPEMBody("CERTIFICATE REQUEST", der)
}

func csrPEMBody(label string, der []byte) object {
	return object{"certificateSigningRequest": pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})}
}

// post sends body, JSON unless it is a string, with the token as bearer if there
// is one.
func (f *fixture) post(t testing.TB, path, token string, body any) *httptest.ResponseRecorder {
	t.Helper()
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(text))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	f.mux.ServeHTTP(w, r)
	return w
}

func (f *fixture) get(t testing.TB, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	f.mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

const (
	v2Path = "/api/v2/signingCert"
	v1Path = "/api/v1/signingCert"
)

// issued checks a v2 answer and returns its certificates.
func issued(t testing.TB, w *httptest.ResponseRecorder) []*x509.Certificate {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var answer struct {
		Cert struct {
			Chain struct {
				Certificates []string `json:"certificates"`
			} `json:"chain"`
		} `json:"signedCertificateEmbeddedSct"`
	}
	decode(t, w.Body, &answer)
	var chain []*x509.Certificate
	for _, text := range answer.Cert.Chain.Certificates {
		if strings.TrimSpace(text) != text {
			t.Errorf("certificate is not trimmed: %q", text)
		}
		c, err := pki.ParseCertificatesPEM([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c...)
	}
	return chain
}

func decode(t testing.TB, from io.Reader, into any) {
	t.Helper()
	if err := json.NewDecoder(from).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// wantRefusal checks status, code and phrase of an error answer.
func wantRefusal(t testing.TB, w *httptest.ResponseRecorder, status, code int, phrase string) {
	t.Helper()
	var body struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Details []any  `json:"details"`
	}
	text := w.Body.String()
	decode(t, w.Body, &body)
	if w.Code != status || body.Code != code || !strings.Contains(body.Message, phrase) || body.Details == nil {
		t.Errorf("answer = %d %s, want %d with code %d and %q", w.Code, text, status, code, phrase)
	}
}
