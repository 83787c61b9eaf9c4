package tsa_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"sigstack/internal/pki"
)

// served is the chain that the service hands out.
func (a *authority) served(t *testing.T) []byte {
	t.Helper()
	rec := httptest.NewRecorder()
	a.mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path+"/certchain", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("certchain: %d %s", rec.Code, rec.Body)
	}
	return rec.Body.Bytes()
}

// TestReloadUnderWriters: while the service goes from one chain to another and back,
// each timestamp is whole: it verifies with the chain whose certificate it has.
func TestReloadUnderWriters(t *testing.T) {
	first, second := newHierarchy(t, elliptic.P256()), newHierarchy(t, elliptic.P384())
	a := newAuthority(t, first, nil)
	query := derQuery(t, timestamp.Request{Certificates: true})
	stop := make(chan struct{})
	var mu sync.Mutex
	byLeaf := map[string][]byte{} // a response of each
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				rec := a.post(derType, query)
				if rec.Code != http.StatusCreated {
					t.Errorf("answer %d: %s", rec.Code, rec.Body)
					return
				}
				ts, err := timestamp.ParseResponse(rec.Body.Bytes()) // which verifies its signature by the certificate in it
				if err != nil {
					t.Errorf("timestamp %d: %v", n, err)
					return
				}
				mu.Lock()
				byLeaf[string(ts.Certificates[0].Raw)] = rec.Body.Bytes()
				mu.Unlock()
			}
		})
	}
	for range 100 {
		for _, h := range []hierarchy{second, first} {
			if err := a.tsa.Reload(h.chain, h.key); err != nil {
				t.Error(err)
			}
			if got := a.tsa.Trust().Chain; !got[0].Equal(h.chain[0]) {
				t.Errorf("trust has %s after the reload", got[0].Subject)
			}
			if got := a.served(t); !bytes.Equal(got, pki.CertificatesPEM(h.chain)) {
				t.Errorf("after the reload the chain is\n%s", got)
			}
			a.granted(t, derType, query)
		}
	}
	a.granted(t, derType, query)
	close(stop)
	wg.Wait()
	if err := a.tsa.Reload(second.chain, second.key); err != nil {
		t.Fatal(err)
	}
	byLeaf[string(second.chain[0].Raw)] = a.granted(t, derType, query)
	for _, h := range []hierarchy{first, second} {
		response, ok := byLeaf[string(h.chain[0].Raw)]
		if !ok {
			t.Fatalf("no timestamp by %x", h.chain[0].SerialNumber)
		}
		opensslVerify(t, h, query, response)
	}
	if len(byLeaf) != 2 {
		t.Errorf("timestamps by %d certificates, want 2", len(byLeaf))
	}
}

// TestReloadRefuses: what New would refuse leaves everything as it was, and so does
// Check whatever it finds.
func TestReloadRefuses(t *testing.T) {
	first, second := newHierarchy(t, elliptic.P256()), newHierarchy(t, elliptic.P256())
	a := newAuthority(t, first, nil)
	for name, h := range map[string]hierarchy{
		"key of the other": {second.chain, first.key},
		"order":            {[]*x509.Certificate{second.chain[1], second.chain[0], second.chain[2]}, second.key},
		"no root":          {second.chain[:2], second.key},
		"nothing":          {nil, second.key},
	} {
		if err := a.tsa.Reload(h.chain, h.key); err == nil {
			t.Errorf("%s: taken", name)
		}
		if err := a.tsa.Check(h.chain, h.key); err == nil {
			t.Errorf("%s: checked", name)
		}
	}
	if err := a.tsa.Check(second.chain, second.key); err != nil {
		t.Errorf("check of the other: %v", err)
	}
	if got := a.served(t); !bytes.Equal(got, pki.CertificatesPEM(first.chain)) {
		t.Errorf("the chain is\n%s", got)
	}
}

// TestReloadKeepsTheTime: the clock of all chains is one.
func TestReloadKeepsTheTime(t *testing.T) {
	first, second := newHierarchy(t, elliptic.P256()), newHierarchy(t, elliptic.P256())
	a := newAuthority(t, first, nil)
	query := derQuery(t, timestamp.Request{})
	a.clock.move(time.Minute)
	before, err := timestamp.ParseResponse(a.granted(t, derType, derQuery(t, timestamp.Request{Certificates: true})))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.tsa.Reload(second.chain, second.key); err != nil {
		t.Fatal(err)
	}
	a.clock.move(-3 * time.Second)
	after, err := timestamp.ParseResponse(a.granted(t, derType, derQuery(t, timestamp.Request{Certificates: true})))
	if err != nil {
		t.Fatal(err)
	}
	if after.Time.Before(before.Time) {
		t.Errorf("a timestamp of the second chain is of %s, before %s", after.Time, before.Time)
	}
	a.clock.move(-time.Minute)
	if rec := a.post(derType, query); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("a minute back: %d, want 503", rec.Code)
	}
}
