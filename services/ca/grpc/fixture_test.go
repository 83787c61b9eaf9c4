package grpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"sigstack/internal/audit/audittest"
	"sigstack/internal/httpd"
	"sigstack/services/ca"
	"sigstack/services/ca/catest"
	cagrpc "sigstack/services/ca/grpc"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/identity/identitytest"
	"sigstack/services/ca/sct"
)

// fixture is a certificate authority with both faces on one listener, which
// speaks HTTP/1.1 and HTTP/2.
type fixture struct {
	now    time.Time
	issuer *identitytest.Issuer
	submit atomic.Pointer[sct.Submit] // replaces the log; nil: it works
	mux    *httpd.Mux
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	now := func() time.Time { return f.now }
	f.issuer = identitytest.New(t, now)
	log := slog.New(slog.DiscardHandler)
	chain, signer := catest.NewChain(t, f.now)
	ctLog, record := catest.NewLog(t, f.now), new(audittest.Record)
	authority, err := ca.New(ca.Config{
		Chain: chain, Signer: signer,
		CTLogs: []sct.Log{{Name: "ctlog", Key: ctLog.SPKI, Submit: func(ctx context.Context, chain [][]byte) ([]byte, error) {
			if other := f.submit.Load(); other != nil {
				return (*other)(ctx, chain)
			}
			return ctLog.Submit(ctx, chain)
		}}},
		Issuers: []identity.Issuer{
			{URL: f.issuer.URL, ClientID: identitytest.ClientID, Type: identity.Email},
			{URL: "https://*.ci.example", ClientID: "ci", Type: identity.URI, SubjectDomain: "https://ci.example"},
			{URL: "https://idp.example", ClientID: "sigstore", Type: identity.Email, SkipEmailVerification: true},
		},
		Audit: record.Add, AuditReady: record.Ready,
		URL: "https://localhost:8080", Now: now, Log: log, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.mux = httpd.NewMux(httpd.MuxConfig{Log: log, Metrics: prometheus.NewRegistry(), Now: now})
	authority.Mount(f.mux)
	cagrpc.Mount(authority, f.mux)
	return f
}

// dial serves the fixture, by TLS or in plaintext, and returns a client.
func (f *fixture) dial(t *testing.T, secure bool) *grpc.ClientConn {
	t.Helper()
	srv := httptest.NewUnstartedServer(f.mux)
	transport := insecure.NewCredentials()
	if secure {
		srv.EnableHTTP2 = true
		srv.StartTLS()
		pool := x509.NewCertPool()
		pool.AddCert(srv.Certificate())
		transport = credentials.NewTLS(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13})
	} else {
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetHTTP1(true)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
	}
	t.Cleanup(srv.Close)
	_, address, _ := strings.Cut(srv.URL, "://")
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// post asks the HTTP face.
func (f *fixture) post(t *testing.T, token string, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v2/signingCert", strings.NewReader(string(body)))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	f.mux.ServeHTTP(w, r)
	return w
}

func (f *fixture) get(t *testing.T, path string) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	f.mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}
