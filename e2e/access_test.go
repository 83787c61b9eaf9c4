package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/config"
)

// clientAuthority issues client certificates.
type clientAuthority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newClientAuthority(t *testing.T) *clientAuthority {
	t.Helper()
	a := &clientAuthority{key: newP256(t)}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = issueCertificate(t, tmpl, tmpl, &a.key.PublicKey, a.key)
	return a
}

func issueCertificate(t *testing.T, tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// client is somebody with a certificate.
func (a *clientAuthority) client(t *testing.T, usage x509.ExtKeyUsage) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := issueCertificate(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "somebody"}, NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, a.cert, &key.PublicKey, a.key)
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// TestClientCertificates: what asks for a client certificate is open to those of
// the configured authorities, in one process and in several.
func TestClientCertificates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var args []string
	if !e2etest.OverTLS() {
		args = []string{"--tls"}
	}
	first := e2etest.Start(t, dir, args...)
	first.Stop()
	clients, strangers := newClientAuthority(t), newClientAuthority(t)
	authorities := e2etest.WriteFile(t, t.TempDir(), "clients.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: clients.cert.Raw})))
	for _, d := range first.ProcessDirs() {
		demandCertificates(t, filepath.Join(d, "config.yaml"), authorities)
	}
	s := e2etest.Start(t, dir)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(e2etest.ReadFile(t, s.Kit("tls-ca.crt.pem"))))
	request, err := json.Marshal(map[string]any{"artifactHash": make([]byte, 32), "hashAlgorithm": "sha256"})
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []struct {
		name        string
		certificate *tls.Certificate
		admitted    bool
		shakesHands bool
	}{
		{"nobody", nil, false, true},
		{"a client", clients.client(t, x509.ExtKeyUsageClientAuth), true, true},
		{"a server", clients.client(t, x509.ExtKeyUsageServerAuth), false, false},
		{"a stranger", strangers.client(t, x509.ExtKeyUsageClientAuth), false, false},
	} {
		t.Run(who.name, func(t *testing.T) {
			conf := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if who.certificate == nil {
					return new(tls.Certificate), nil
				}
				return who.certificate, nil
			}
			transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: goodWithin}
			for _, q := range []struct {
				method, path, body string
				admitted, not      int
			}{
				{http.MethodPost, "/api/v1/timestamp", string(request), 201, 403},
				{http.MethodPost, "/api/v2/signingCert", "{}", 400, 403},
				{http.MethodGet, "/api/v1/log", "", 200, 403},
				{http.MethodGet, "/ctlog/ct/v1/get-sth", "", 200, 403},
				{http.MethodGet, "/api/v2/trustBundle", "", 200, 200},
				{http.MethodGet, "/client/trusted_root.json", "", 200, 200},
			} {
				status, err := send(client, q.method, s.URL+q.path, q.body)
				want := q.not
				if who.admitted {
					want = q.admitted
				}
				switch {
				case !who.shakesHands && err == nil:
					t.Errorf("%s: %d %v, want no connection", q.path, status, err)
				case who.shakesHands && (err != nil || status != want):
					t.Errorf("%s: %d %v, want %d", q.path, status, err, want)
				}
			}
		})
	}
}

// demandCertificates asks for client certificates wherever that can be asked.
func demandCertificates(t *testing.T, path, authorities string) {
	t.Helper()
	conf, err := config.Parse([]byte(e2etest.ReadFile(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	if conf.TLS != nil {
		conf.TLS.ClientCA = authorities
	}
	conf.Access.Read = config.AccessMTLS
	conf.Access.Write = config.WriteAccess{CA: config.AccessMTLS, TSA: config.AccessMTLS, CTLog: config.AccessInternal}
	text, err := conf.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
