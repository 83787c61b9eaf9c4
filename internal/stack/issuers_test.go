package stack_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// tlsIssuer is an OIDC issuer behind TLS of an authority that nobody knows.
type tlsIssuer struct {
	*httptest.Server
	key  *ecdsa.PrivateKey
	name string // in tokens and discovery; the server's URL unless a test says otherwise
	keys any
}

func newTLSIssuer(t *testing.T) *tlsIssuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &tlsIssuer{key: key}
	point, err := key.PublicKey.Bytes() // 4, X, Y
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	i.keys = map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1", "x": b64(point[1:33]), "y": b64(point[33:]),
	}}}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := i.keys
		if r.URL.Path == "/.well-known/openid-configuration" {
			answer = map[string]any{"issuer": i.name, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}}
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	i.name = i.URL
	t.Cleanup(i.Close)
	return i
}

func (i *tlsIssuer) keySet(t *testing.T) []byte {
	t.Helper()
	data, err := json.Marshal(i.keys)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (i *tlsIssuer) token(t *testing.T, verified bool) string {
	t.Helper()
	payload, err := json.Marshal(map[string]any{
		"iss": i.name, "aud": "sigstore", "sub": "1", "email": "ann@corp.example", "email_verified": verified,
		"exp": time.Now().Add(time.Minute).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","kid":"1"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature[:])
}

// certify asks the CA for a certificate by a CSR, and returns status and body.
func certify(t *testing.T, h http.Handler, token string) (int, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, crypto.Signer(key))
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string][]byte{"certificateSigningRequest": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v2/signingCert", strings.NewReader(string(body)))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	answer, err := io.ReadAll(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rec.Code, string(answer)
}

// TestIssuerSettings: an issuer's own authorities and unverified addresses, with
// the setting and without.
func TestIssuerSettings(t *testing.T) {
	outside := newTLSIssuer(t)
	tests := []struct {
		name         string
		caCert, skip bool
		verified     bool
		status       int
	}{
		{"known authority", true, false, true, http.StatusOK},
		{"unknown authority", false, false, true, http.StatusServiceUnavailable},
		{"unverified address", true, false, false, http.StatusBadRequest},
		{"unverified address, skipped", true, true, false, http.StatusOK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
			iss := config.Issuer{URL: outside.URL, ClientID: "sigstore", Type: "email", SkipEmailVerification: tt.skip}
			if tt.caCert {
				iss.CACert = "keys/login-ca.pem"
				cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: outside.Certificate().Raw})
				writeSecret(t, filepath.Join(dir, iss.CACert), string(cert), 0o644)
			}
			edit(t, dir, func(c *config.Config) { c.CA.Issuers = append(c.CA.Issuers, iss) })
			s := start(t, options(dir, config.ProfileUp))
			if status, body := certify(t, s.Handler(), outside.token(t, tt.verified)); status != tt.status {
				t.Errorf("status %d, want %d: %s", status, tt.status, body)
			}
			s.stop()
			if err := <-s.done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("missing file", func(t *testing.T) {
		dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
		edit(t, dir, func(c *config.Config) {
			c.CA.Issuers = append(c.CA.Issuers, config.Issuer{URL: outside.URL, ClientID: "sigstore", Type: "email", CACert: "nowhere.pem"})
		})
		s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "ca.issuers[1].ca_cert: ") {
			t.Errorf("got %v, want an error that names issuer and field", err)
		}
	})
}
