package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	ct "github.com/google/certificate-transparency-go"
	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/pki"
	"sigstack/services/ca/identity/identitytest"
	"sigstack/services/ca/sct"
)

// signingLog is a CT log that only signs, P-256 and in process: the benchmarks
// measure the authority, and both sides of their ratio hold this signature.
func signingLog(b *testing.B, f *fixture) sct.Submit {
	b.Helper()
	issuer := sha256.Sum256(f.cfg.Chain[0].RawSubjectPublicKeyInfo)
	return func(_ context.Context, chain [][]byte) ([]byte, error) {
		tbs, err := pki.TBSWithout(chain[0], pki.OIDPoison)
		if err != nil {
			return nil, err
		}
		id := pki.LogID(f.log.SPKI)
		digest := sha256.Sum256(sctInput(1, issuer, tbs))
		signature, err := f.log.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			return nil, err
		}
		return json.Marshal(ct.AddChainResponse{
			ID: id[:], Timestamp: 1, Signature: append([]byte{4, 3, 0, byte(len(signature))}, signature...),
		})
	}
}

// BenchmarkIssue is one v2 request through the mux: an RS256 token and a P-256
// challenge in, a certificate with an embedded SCT out.
func BenchmarkIssue(b *testing.B) {
	f := newFixture(b, func(f *fixture) {
		f.cfg.CTLogs[0].Submit = signingLog(b, f)
		f.cfg.Log = slog.New(slog.DiscardHandler)
	})
	f.issuer.SetKey(identitytest.NewRSAKey(b, "rsa"))
	f.mux = httpd.NewMux(httpd.MuxConfig{Log: f.cfg.Log, Metrics: prometheus.NewRegistry(), Now: f.cfg.Now})
	f.service.Mount(f.mux)
	token := f.issuer.Token(b, alice())
	body, err := json.Marshal(challengeBody(b, newECDSA(b, elliptic.P256()), email))
	if err != nil {
		b.Fatal(err)
	}
	before := cpuTime(b)
	for b.Loop() {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, v2Path, strings.NewReader(string(body)))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		f.mux.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatalf("answer %d: %s", w.Code, w.Body)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkIssueFloor is the bare cryptography of one certificate:
//
//	1 × RSA 2048 PKCS#1 v1.5 verification (token), SHA-256 of 600 bytes
//	1 × ECDSA P-256 verification (proof of possession), SHA-256 of 20 bytes
//	1 × rand.Read of 20 bytes (serial)
//	2 × ECDSA P-256 signature (precertificate, certificate), SHA-256 of 500 bytes each
//	1 × ECDSA P-256 signature (the log's stand-in), SHA-256 of 600 bytes
//	1 × ECDSA P-256 verification (SCT), SHA-256 of 600 bytes
//
// Not in it: the authority verifies its signature of the certificate.
func BenchmarkIssueFloor(b *testing.B) {
	ec, rsaKey := newECDSA(b, elliptic.P256()), newRSA(b, 2048)
	token, proof, tbs, serial := make([]byte, 600), make([]byte, 20), make([]byte, 500), make([]byte, 20)
	tokenSum, proofSum := sha256.Sum256(token), sha256.Sum256(proof)
	tokenSig, err := rsaKey.Sign(rand.Reader, tokenSum[:], crypto.SHA256)
	if err != nil {
		b.Fatal(err)
	}
	proofSig, err := ec.Sign(rand.Reader, proofSum[:], crypto.SHA256)
	if err != nil {
		b.Fatal(err)
	}
	signs := func(message []byte) (sum [32]byte, signature []byte) {
		sum = sha256.Sum256(message)
		signature, err := ec.Sign(rand.Reader, sum[:], crypto.SHA256)
		if err != nil {
			b.Fatal(err)
		}
		return sum, signature
	}
	before := cpuTime(b)
	for b.Loop() {
		tokenSum, proofSum = sha256.Sum256(token), sha256.Sum256(proof)
		if err := rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, tokenSum[:], tokenSig); err != nil {
			b.Fatal(err)
		}
		if !ecdsa.VerifyASN1(&ec.PublicKey, proofSum[:], proofSig) {
			b.Fatal("proof does not verify")
		}
		if _, err := rand.Read(serial); err != nil {
			b.Fatal(err)
		}
		signs(tbs)
		signs(tbs)
		sum, sct := signs(token)
		if !ecdsa.VerifyASN1(&ec.PublicKey, sum[:], sct) {
			b.Fatal("SCT does not verify")
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkCheckRSA is the policy check of one RSA key, which only RSA clients pay.
func BenchmarkCheckRSA(b *testing.B) {
	key := newRSA(b, 4096)
	for b.Loop() {
		if err := checkKey(&key.PublicKey); err != nil {
			b.Fatal(err)
		}
	}
}
