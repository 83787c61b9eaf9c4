package stack_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
)

// TestStatusOverTheSocket: what an operator sees of a running stack, as long as
// it runs.
func TestStatusOverTheSocket(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	opts := options(dir, config.ProfileUp)
	opts.Version = "v1.2.3"
	r := start(t, opts)
	var st stack.Status
	if err := admin.Dial(dir).Get(t.Context(), stack.AdminStatus, &st); err != nil {
		t.Fatal(err)
	}
	if st.Status != httpd.OK || st.Version != "v1.2.3" || st.PID != os.Getpid() || st.Profile != "up" || st.URL != "http://stack.test:8080" {
		t.Errorf("status %+v", st)
	}
	if st.Addresses.Public != r.Address() || st.Addresses.Metrics == "" {
		t.Errorf("addresses %+v, want %s and one of metrics", st.Addresses, r.Address())
	}
	if st.Connections.Most == 0 {
		t.Errorf("connections %+v, want room for some", st.Connections)
	}
	if len(st.Trees) != 2 || st.Trees[1].Name != "tlog" || st.Trees[1].Size == 0 || len(st.Trees[1].Root) != 64 {
		t.Errorf("trees %+v, want the self-test's entry in both", st.Trees)
	}
	if len(st.Keys) != 7 || len(st.Keys[0].SHA256) != 64 || time.Since(st.Keys[0].Created) > time.Hour {
		t.Errorf("keys %+v, want seven new ones", st.Keys)
	}
	if st.Audit.Seq == 0 || len(st.Audit.Chain) != 64 {
		t.Errorf("audit %+v, want records", st.Audit)
	}
	if len(st.Expiry) != 9 || st.Expiry[0].What != "tuf timestamp" || st.Expiry[0].Days != 0 || st.Expiry[8].Days < 3000 {
		t.Errorf("expiry %+v, want nine, the timestamp's first", st.Expiry)
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	if err := admin.Dial(dir).Get(t.Context(), stack.AdminStatus, &st); !errors.Is(err, admin.ErrNotRunning) {
		t.Errorf("after the end: %v, want %v", err, admin.ErrNotRunning)
	}
}

// serve runs a stack until the test ends.
func serve(t *testing.T, opts stack.Options) running {
	t.Helper()
	r := start(t, opts)
	t.Cleanup(func() {
		r.stop()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestKeyTestOverTheSocket(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	serve(t, options(dir, config.ProfileUp))
	var key stack.KeyStatus
	if err := admin.Dial(dir).Post(t.Context(), "/v1/keys/rekor/test", nil, &key); err != nil || key.Name != "rekor" {
		t.Errorf("key %+v, %v, want rekor", key, err)
	}
	wantRecord(t, dir, `"action":"admin.key-test","outcome":"ok"`, `"path":"/v1/keys/rekor/test"`)
	var refused *admin.RefusedError
	err := admin.Dial(dir).Post(t.Context(), "/v1/keys/tuf-root/test", nil, &key)
	if !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("a key of another place: %v, want that there is none", err)
	}
	wantRecord(t, dir, `"action":"admin.key-test","outcome":"refused"`, `"path":"/v1/keys/tuf-root/test"`)
}

// wantRecord demands a line of the audit record that has all of parts.
func wantRecord(t *testing.T, dir string, parts ...string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "audit", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("audit record: %v, %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(string(data), "\n") {
			if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
				return
			}
		}
	}
	t.Errorf("no record has %v", parts)
}

// TestAnchorOverTheSocket: what is on record so far is in the transparency log
// when the answer comes, and the act itself is on record.
func TestAnchorOverTheSocket(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	serve(t, options(dir, config.ProfileUp))
	var before stack.Status
	if err := admin.Dial(dir).Get(t.Context(), stack.AdminStatus, &before); err != nil {
		t.Fatal(err)
	}
	var got stack.AuditStatus
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminAnchor, nil, &got); err != nil {
		t.Fatal(err)
	}
	if got.Anchored < before.Audit.Seq || got.Chain != before.Audit.Chain {
		t.Errorf("anchored %+v, want at least what was there: %+v", got, before.Audit)
	}
	wantRecord(t, dir, `"action":"admin.audit-anchor","outcome":"ok"`, `"by":"uid `)
}

// publicPaths are all that a public listener answers (design: One origin).
var publicPaths = []string{
	"/api/v1/", "/api/v2/", "/ctlog/ct/v1/", "/ctlog/log.v3.json", "/dex/", "/tuf/", "/client/", "/healthz", "/readyz", "/readyz/", "/ping",
	"/dev.sigstore.fulcio.v2.CA/", "/grpc.health.v1.Health/",
}

// TestNoAdministrativePathIsPublic holds the whole table of public routes against
// the documented one, and asks the public listener for every act.
func TestNoAdministrativePathIsPublic(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp}) // it has all of serve's, and more
	r := serve(t, options(dir, config.ProfileUp))
	for _, route := range r.Routes() {
		if !isPublic(route.Path) {
			t.Errorf("%s %s of %s is on the public listener, and not among what is public", route.Method, route.Path, route.Service)
		}
	}
	acts := r.Acts()
	if len(acts) < 3 {
		t.Fatalf("acts %+v, want some", acts)
	}
	for _, act := range acts {
		if isPublic(act.Path) {
			t.Errorf("act %s has a path of the public listener's", act.Path)
		}
		path := strings.ReplaceAll(act.Path, "{name}", "rekor")
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			rec := httptest.NewRecorder()
			r.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, nil))
			if rec.Code != http.StatusNotFound {
				t.Errorf("%s %s: %d on the public listener, want 404", method, path, rec.Code)
			}
		}
	}
}

func isPublic(path string) bool {
	if path == "/" {
		return true
	}
	for _, p := range publicPaths {
		if path == strings.TrimSuffix(p, "/") || strings.HasSuffix(p, "/") && strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// certificateFiles are those of a stack at localhost.
type certificateFiles struct {
	t    *testing.T
	dir  string
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCertificateFiles(t *testing.T) certificateFiles {
	t.Helper()
	key := newKey(t)
	root, err := pki.NewRoot(key, pkix.Name{CommonName: "TLS", Organization: []string{"test"}}, time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	f := certificateFiles{t, t.TempDir(), root, key}
	f.write("ca.pem", pki.CertificatesPEM([]*x509.Certificate{root}))
	f.write("clients.pem", pki.CertificatesPEM([]*x509.Certificate{root}))
	return f
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (f certificateFiles) path(name string) string { return filepath.Join(f.dir, name) }

func (f certificateFiles) write(name string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// renew writes a new certificate and its key, and returns the serial number.
func (f certificateFiles) renew() string {
	f.t.Helper()
	key := newKey(f.t)
	leaf, err := pki.NewTLSLeaf(f.root, f.key, key.Public(), "localhost", time.Now().Add(-time.Minute))
	if err != nil {
		f.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write("tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	f.write("tls.crt", pki.CertificatesPEM([]*x509.Certificate{leaf}))
	return leaf.SerialNumber.Text(16)
}

// TestReload takes new files of TLS, by command and by signal, and nothing while
// the configuration has a problem.
func TestReload(t *testing.T) {
	files := newCertificateFiles(t)
	files.renew()
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "https://localhost:8443", TLS: stack.InitTLS{
		Files: &config.TLSFiles{Certificate: files.path("tls.crt"), Key: files.path("tls.key"), Authorities: files.path("ca.pem")},
	}})
	edit(t, dir, func(c *config.Config) { c.TLS.ClientCA = files.path("clients.pem") })
	s := serve(t, options(dir, config.ProfileUp))
	reload := func() (r stack.Reloaded, err error) {
		return r, admin.Dial(dir).Post(t.Context(), stack.AdminReload, nil, &r)
	}
	if r, err := reload(); err != nil || len(r.Changed) != 0 || len(r.NeedsRestart) != 0 {
		t.Errorf("nothing new: %+v, %v", r, err)
	}
	serial := files.renew()
	if r, err := reload(); err != nil || len(r.Changed) != 1 || !strings.Contains(r.Changed[0], "tls certificate "+serial) {
		t.Errorf("new files: %+v, %v, want certificate %s", r, err, serial)
	}
	serial = files.renew()
	if r, err := s.Reload(context.Background(), "hangup"); err != nil || len(r.Changed) != 1 || !strings.Contains(r.Changed[0], serial) {
		t.Errorf("by signal: %+v, %v, want certificate %s", r, err, serial)
	}

	edit(t, dir, func(c *config.Config) { c.Limits.Connections = 1000 })
	if r, err := reload(); err != nil || len(r.Changed) != 0 || strings.Join(r.NeedsRestart, " ") != "limits" {
		t.Errorf("changed limits: %+v, %v, want that they need a restart", r, err)
	}
	serial = files.renew()
	path := filepath.Join(dir, "config.yaml")
	valid, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(valid, "unheard: of\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := reload(); err == nil || !strings.Contains(err.Error(), "nothing was reloaded") || !strings.Contains(err.Error(), "unheard") {
		t.Errorf("configuration with a problem: %+v, %v, want a refusal that names it", r, err)
	}
	if err := os.WriteFile(path, valid, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := reload(); err != nil || len(r.Changed) != 1 || !strings.Contains(r.Changed[0], serial) {
		t.Errorf("without the problem: %+v, %v, want certificate %s, which was not taken before", r, err, serial)
	}
	files.write("clients.pem", pki.CertificatesPEM([]*x509.Certificate{newCertificateFiles(t).root}))
	if r, err := reload(); err != nil || strings.Join(r.Changed, "; ") != "authorities of tls client certificates" {
		t.Errorf("new authorities of clients: %+v, %v, want that they are taken", r, err)
	}
	files.renew()
	files.write("clients.pem", []byte("no certificate"))
	if r, err := reload(); err == nil || !strings.Contains(err.Error(), "nothing was reloaded") || !strings.Contains(err.Error(), "tls.client_ca") {
		t.Errorf("one good, one spoilt: %+v, %v, want a refusal that names the spoilt one", r, err)
	}
	files.write("tls.key", []byte("no key"))
	if r, err := reload(); err == nil || !strings.Contains(err.Error(), "nothing was reloaded") || !strings.Contains(err.Error(), "tls.files") {
		t.Errorf("spoilt key: %+v, %v, want a refusal", r, err)
	}
}

// TestReloadBeforeTheStart: a signal may come at any time.
func TestReloadBeforeTheStart(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := s.Reload(t.Context(), "hangup"); err == nil || !strings.Contains(err.Error(), "not running yet") {
		t.Errorf("error %v, want that it is too early", err)
	}
}
