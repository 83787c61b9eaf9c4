package ctlog_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/client"
	"github.com/google/certificate-transparency-go/jsonclient"
	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgtest"
	"sigstack/internal/pki"
	"sigstack/services/ctlog"
)

// start lies years before the machine's time, so that anything which mixes up
// the two clocks fails.
var start = time.Date(2021, 3, 1, 12, 0, 0, 123456789, time.UTC)

const prefix = "/ctlog/ct/v1/"

// testClock is a clock that tests move.
type testClock struct {
	mu sync.Mutex
	at time.Time // guarded by mu
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// authority is a CA as the stack has one.
type authority struct {
	rootKey, key *ecdsa.PrivateKey
	root, inter  *x509.Certificate
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{rootKey: newKey(t), key: newKey(t)}
	name := func(cn string) pkix.Name { return pkix.Name{CommonName: cn, Organization: []string{"sigstack test"}} }
	var err error
	if a.root, err = pki.NewRoot(a.rootKey, name("root"), start.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if a.inter, err = pki.NewIntermediate(a.root, a.rootKey, a.key.Public(), name("inter"), x509.ExtKeyUsageCodeSigning, start.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	return a
}

// leaf makes a code signing certificate, with the poison of a precertificate
// (RFC 6962 §3.1) unless plain, after change was let at the template.
func (a *authority) leaf(t testing.TB, plain bool, change func(*x509.Certificate)) []byte {
	t.Helper()
	serial, err := pki.NewSerial()
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber:   serial,
		NotBefore:      start,
		NotAfter:       start.Add(10 * time.Minute),
		KeyUsage:       x509.KeyUsageDigitalSignature,
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		EmailAddresses: []string{"jane@example.test"},
	}
	if !plain {
		tmpl.ExtraExtensions = []pkix.Extension{{Id: pki.OIDPoison, Critical: true, Value: asn1.NullBytes}}
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.inter, newKey(t).Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// chain is a precertificate with the certificates above it.
func (a *authority) chain(t testing.TB) [][]byte {
	t.Helper()
	return [][]byte{a.leaf(t, false, nil), a.inter.Raw, a.root.Raw}
}

// disk is what outlives a log: files, clock and key.
type disk struct {
	fs    *vfs.MemFS
	clock *testClock
	key   keys.Key
	tree  int64
	store pebblelog.Options
	pg    *pglog.Options // in place of fs
	// adjust changes what logs opened from now on are configured with.
	adjust func(*ctlog.Config)
}

func newDisk(t testing.TB) *disk {
	t.Helper()
	d := &disk{fs: vfs.NewMem(), clock: &testClock{at: start}}
	d.store = pebblelog.Options{FS: d.fs, Now: d.clock.now}
	var err error
	if d.key, err = keys.Ephemeral("ctlog", keys.ECDSAP256, start); err != nil {
		t.Fatal(err)
	}
	if os.Getenv(storageVariable) == "postgresql" {
		d.onPostgreSQL(t)
	}
	d.makeTree(t)
	return d
}

// storageVariable, set to "postgresql", has every test of a disk that does not break run
// on PostgreSQL.
const storageVariable = "CTLOG_TEST_STORAGE"

// onPostgreSQL has the log in a database.
func (d *disk) onPostgreSQL(t testing.TB) {
	t.Helper()
	_, db := pgtest.Start(t)
	d.pg = &pglog.Options{URL: db.URL, Schema: "ct", Now: d.clock.now}
	if _, err := pglog.Migrate(t.Context(), d.pg.URL, d.pg.Schema); err != nil {
		t.Fatal(err)
	}
}

// storage is what a log is kept in.
type storage interface {
	merkle.Storage
	Close() error
}

func (d *disk) openStore(t testing.TB) storage {
	t.Helper()
	if d.pg != nil {
		store, err := pglog.Open(t.Context(), *d.pg)
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	store, err := pebblelog.Open("db", d.store)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func (d *disk) makeTree(t testing.TB) {
	t.Helper()
	store := d.openStore(t)
	var err error
	if d.tree, err = merkle.CreateTree(t.Context(), store, "ctlog"); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// running is a log behind the real mux.
type running struct {
	*ctlog.Service
	tree   *merkle.Tree
	mux    *httpd.Mux
	reg    *prometheus.Registry
	client *client.LogClient // checks every SCT and tree head against the key
	stop   func()
}

// open starts a log on the disk. wrap, if not nil, stands between log and tree.
func (d *disk) open(t testing.TB, ca *authority, wrap func(*merkle.Tree) ctlog.Tree) *running {
	t.Helper()
	store := d.openStore(t)
	tree, err := merkle.Open(t.Context(), merkle.Config{Storage: store, TreeID: d.tree, Now: d.clock.now, TimeStep: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{tree: tree}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := tree.Run(ctx); err != nil {
			t.Errorf("tree stopped: %v", err)
		}
	})
	r.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := store.Close(); err != nil {
			t.Errorf("close storage: %v", err)
		}
	})
	t.Cleanup(r.stop)

	cfg := newConfig(t, d, ca, tree)
	r.reg = prometheus.NewRegistry()
	cfg.Metrics = r.reg
	if wrap != nil {
		cfg.Tree = wrap(tree)
	}
	if d.adjust != nil {
		d.adjust(&cfg)
	}
	if r.Service, err = ctlog.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	r.mux = httpd.NewMux(httpd.MuxConfig{Log: cfg.Log, Metrics: cfg.Metrics, Now: d.clock.now})
	r.Mount(r.mux)
	r.client, err = client.New("http://sigstack.test/ctlog", &http.Client{Transport: httpd.InProcess{Handler: r.mux}},
		jsonclient.Options{PublicKeyDER: d.key.SPKI()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newConfig(t testing.TB, d *disk, ca *authority, tree ctlog.Tree) ctlog.Config {
	t.Helper()
	return ctlog.Config{
		Tree: tree, Signer: d.key, Roots: []*x509.Certificate{ca.root}, Prefix: "ctlog", URL: "http://sigstack.test",
		TempDir: t.TempDir(), Now: d.clock.now, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	}
}

// get asks an endpoint with query parameters in pairs.
func (r *running) get(t testing.TB, endpoint string, params ...string) *httptest.ResponseRecorder {
	t.Helper()
	query := url.Values{}
	for i := 0; i < len(params); i += 2 {
		query.Set(params[i], params[i+1])
	}
	return r.do(t, http.MethodGet, prefix+endpoint+"?"+query.Encode(), nil)
}

func (r *running) do(t testing.TB, method, target string, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	r.mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(body)))
	return rec
}

// submission is the body of add-chain and add-pre-chain.
func submission(t testing.TB, chain ...[]byte) []byte {
	t.Helper()
	body, err := json.Marshal(ct.AddChainRequest{Chain: chain})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func asn1Certs(chain [][]byte) []ct.ASN1Cert {
	certs := make([]ct.ASN1Cert, len(chain))
	for i, der := range chain {
		certs[i].Data = der
	}
	return certs
}

// submissions returns the counter of submissions by kind of entry.
func (r *running) submissions(t testing.TB) map[string]float64 {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "sigstack_ctlog_submissions_total" {
			for _, m := range f.GetMetric() {
				counts[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return counts
}
