package rekorv1_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
	"sigstack/services/tlog"
	"sigstack/services/tlog/rekorv1"
	"sigstack/services/tlog/tlogtest"
)

// rig is a whole log behind HTTP: the real tree, the real mux.
type rig struct {
	url string
	mux *httpd.Mux
	svc *tlog.Service
	log tlogtest.Log // what a client knows
}

func start(tb testing.TB, change ...func(*rekorv1.Config)) *rig {
	tb.Helper()
	if os.Getenv(storageVariable) == "postgresql" {
		return serve(tb, treeInPostgreSQL(tb), change...)
	}
	return startOn(tb, vfs.NewMem(), "db", change...)
}

func startOn(tb testing.TB, fs vfs.FS, dir string, change ...func(*rekorv1.Config)) *rig {
	tb.Helper()
	return serve(tb, startTree(tb, fs, dir), change...)
}

func serve(tb testing.TB, tree *merkle.Tree, change ...func(*rekorv1.Config)) *rig {
	tb.Helper()
	svc := newService(tb, tree)
	c := rekorv1.Config{Log: svc}
	for _, f := range change {
		f(&c)
	}
	api, err := rekorv1.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	mux := mount(api)
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	return &rig{server.URL, mux, svc, tlogtest.Log{Host: "log.example", TreeID: svc.TreeID(), Key: svc.Trust()[0].PublicKey}}
}

func mount(api *rekorv1.API) *httpd.Mux {
	mux := httpd.NewMux(httpd.MuxConfig{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Now: time.Now})
	api.Mount(mux)
	return mux
}

// newMux mounts a log with the usual configuration.
func newMux(tb testing.TB, svc *tlog.Service) *httpd.Mux {
	tb.Helper()
	api, err := rekorv1.New(rekorv1.Config{Log: svc})
	if err != nil {
		tb.Fatal(err)
	}
	return mount(api)
}

func newService(tb testing.TB, tree tlog.Tree) *tlog.Service {
	tb.Helper()
	svc, err := tlog.New(tlog.Config{
		Shard: newShard(tb, tree), URL: "https://log.example:3000/base", Host: "log.example",
		Now: time.Now, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return svc
}

// newShard gives a tree a key.
func newShard(tb testing.TB, tree tlog.Tree) tlog.Shard {
	tb.Helper()
	key, err := keys.Ephemeral("rekor", keys.ECDSAP256, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return tlog.Shard{Tree: tree, Signer: key}
}

func startTree(tb testing.TB, fs vfs.FS, dir string) *merkle.Tree {
	tb.Helper()
	return openTree(tb, dir, pebblelog.Options{FS: fs, Now: time.Now}, 0)
}

// openTree opens the tree with that id, or makes one if it is 0.
func openTree(tb testing.TB, dir string, o pebblelog.Options, id int64) *merkle.Tree {
	tb.Helper()
	tree := treeIn(tb, openStore(tb, dir, o), id, 0)
	runTree(tb, tree)
	return tree
}

func openStore(tb testing.TB, dir string, o pebblelog.Options) *pebblelog.Store {
	tb.Helper()
	store, err := pebblelog.Open(dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Errorf("close storage: %v", err)
		}
	})
	return store
}

// treeIn opens the tree with that id, or makes one if it is 0, with a queue of that
// many leaves, or as many as usual. It takes none before it runs.
func treeIn(tb testing.TB, store *pebblelog.Store, id int64, queue int) *merkle.Tree {
	tb.Helper()
	if id == 0 {
		var err error
		if id, err = merkle.CreateTree(tb.Context(), store, "rekor"); err != nil {
			tb.Fatal(err)
		}
	}
	tree, err := merkle.Open(tb.Context(), merkle.Config{Storage: store, TreeID: id, Now: time.Now, QueueLimit: queue})
	if err != nil {
		tb.Fatal(err)
	}
	return tree
}

func runTree(tb testing.TB, tree *merkle.Tree) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tree.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("run tree: %v", err)
		}
	})
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (r *rig) do(tb testing.TB, method, path string, body []byte) answer {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, r.url+path, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, data}
}

func (r *rig) get(tb testing.TB, path string) answer { tb.Helper(); return r.do(tb, "GET", path, nil) }

func (r *rig) post(tb testing.TB, path string, v any) answer {
	tb.Helper()
	return r.do(tb, "POST", path, tlogtest.JSON(tb, v))
}

// add proposes an entry and checks the whole answer.
func (r *rig) add(tb testing.TB, proposal tlogtest.Object) tlogtest.Entry {
	tb.Helper()
	a := r.post(tb, "/api/v1/log/entries", proposal)
	return r.created(tb, a)
}

func (r *rig) created(tb testing.TB, a answer) tlogtest.Entry {
	tb.Helper()
	if a.status != http.StatusCreated {
		tb.Fatalf("status %d, want 201: %s", a.status, a.body)
	}
	e := r.check(tb, a)
	if got := a.header.Get("ETag"); got != e.ID {
		tb.Errorf("ETag %q, want %q without quotes", got, e.ID)
	}
	if got, want := a.header.Get("Location"), "/api/v1/log/entries/"+e.ID; got != want {
		tb.Errorf("Location %q, want %q", got, want)
	}
	return e
}

// check verifies an answer that is a LogEntry.
func (r *rig) check(tb testing.TB, a answer) tlogtest.Entry {
	tb.Helper()
	e, err := r.log.CheckEntry(a.body)
	if err != nil {
		tb.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		tb.Errorf("Content-Type %q, want application/json", got)
	}
	return e
}

func (r *rig) wantError(tb testing.TB, a answer, status, code int, message string) {
	tb.Helper()
	prefix := fmt.Sprintf(`{"code":%d,"message":"`, code)
	if a.status != status || !strings.HasPrefix(string(a.body), prefix) || !strings.HasSuffix(string(a.body), "\"}\n") ||
		!strings.Contains(string(a.body), message) || a.header.Get("Content-Type") != "application/json" {
		tb.Errorf("answered %d %s %q, want %d application/json %s…%s…", a.status, a.header.Get("Content-Type"), a.body, status, prefix, message)
	}
}

func blob(tb testing.TB, s tlogtest.Signer, text string) tlogtest.Object {
	tb.Helper()
	return tlogtest.HashedRekord(tb, s, crypto.SHA256, []byte(text))
}

func attestation(tb testing.TB, s tlogtest.Signer, text string) tlogtest.Object {
	tb.Helper()
	return tlogtest.DSSE(tb, tlogtest.Envelope(tb, "application/vnd.in-toto+json", []byte(text), s), s)
}

// certified returns a signer whose material is a certificate.
func certified(tb testing.TB) tlogtest.Signer {
	tb.Helper()
	s := tlogtest.NewSigner(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		EmailAddresses: []string{"demo@log.example"},
		ExtraExtensions: []pkix.Extension{ // an SCT list takes about this much
			{Id: []int{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: make([]byte, 124)},
		},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.Key.Public(), s.Key)
	if err != nil {
		tb.Fatal(err)
	}
	s.Material = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return s
}
