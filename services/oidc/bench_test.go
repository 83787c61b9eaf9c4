package oidc_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"

	"sigstack/internal/httpd"
	"sigstack/services/oidc"
)

// BenchmarkPasswordGrant is one ID token by the password grant, through the mux.
func BenchmarkPasswordGrant(b *testing.B) {
	cfg := config(b, b.TempDir())
	s, err := oidc.New(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	mux := httpd.NewMux(httpd.MuxConfig{Log: discard(), Metrics: prometheus.NewRegistry(), Now: cfg.Now})
	s.Mount(mux)
	form := passwordForm(userPassword).Encode()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, cfg.Issuer+"/token", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatalf("status %d: %s", w.Code, w.Body)
		}
	}
}

// BenchmarkPasswordGrantFloor is the cryptography of one password grant alone:
// 1 bcrypt comparison (cost 10), 2 RSA-2048 PKCS #1 v1.5 signatures (access and
// ID token), 2 SHA-256 of a token's size for them and 1 for at_hash.
func BenchmarkPasswordGrantFloor(b *testing.B) {
	hash, err := userHash()
	if err != nil {
		b.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 700)
	for b.Loop() {
		if err := bcrypt.CompareHashAndPassword(hash, []byte(userPassword)); err != nil {
			b.Fatal(err)
		}
		for range 2 {
			digest := sha256.Sum256(payload)
			if _, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:]); err != nil {
				b.Fatal(err)
			}
		}
		_ = sha256.Sum256(payload)
	}
}
