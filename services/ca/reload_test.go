package ca

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sigstack/internal/pki"
	"sigstack/services/ca/catest"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/identity/identitytest"
)

// settings are those that the fixture began with.
func (f *fixture) settings() Settings {
	return Settings{Chain: f.cfg.Chain, Signer: f.cfg.Signer, Issuers: f.cfg.Issuers}
}

// settingsOn are those of a chain of its own.
func (f *fixture) settingsOn(t testing.TB) Settings {
	t.Helper()
	set := f.settings()
	set.Chain, set.Signer = catest.NewChain(t, f.now)
	return set
}

// TestReloadRefuses: what New refuses changes nothing of an authority that serves.
func TestReloadRefuses(t *testing.T) {
	tests := []struct {
		name string
		make func(*fixture, *Settings)
		want string
	}{
		{"no chain", func(_ *fixture, s *Settings) { s.Chain = nil }, "chain or signer is missing"},
		{"no signer", func(_ *fixture, s *Settings) { s.Signer = nil }, "chain or signer is missing"},
		{"chain of the new, key of the old", func(f *fixture, s *Settings) { s.Signer = f.cfg.Signer }, "key"},
		{"key of the new, chain of the old", func(f *fixture, s *Settings) { s.Chain = f.cfg.Chain }, "key"},
		{"intermediate of the new, root of the old", func(f *fixture, s *Settings) {
			s.Chain = []*x509.Certificate{s.Chain[0], f.cfg.Chain[1]}
		}, "not issued by the next"},
		{"no issuers", func(_ *fixture, s *Settings) { s.Issuers = nil }, "no token issuer"},
		{"one issuer twice", func(_ *fixture, s *Settings) { s.Issuers = append(s.Issuers[:1:1], s.Issuers[0]) }, "twice"},
		{"issuer of no known type", func(_ *fixture, s *Settings) {
			s.Issuers = []identity.Issuer{{URL: "https://other.example", ClientID: "sigstore", Type: "owl"}}
		}, "owl"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, nil)
			set := f.settingsOn(t)
			if err := f.service.Check(set); err != nil {
				t.Fatalf("the settings before they are spoilt: %v", err)
			}
			tt.make(f, &set)
			for what, try := range map[string]func(Settings) error{"Reload": f.service.Reload, "Check": f.service.Check} {
				if err := try(set); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: %v, want one with %q", what, err, tt.want)
				}
			}
			key := newECDSA(t, elliptic.P256())
			chain := issued(t, f.post(t, v2Path, f.issuer.Token(t, alice()), challengeBody(t, key, "alice@example.com")))
			if len(chain) != 3 || !chain[1].Equal(f.cfg.Chain[0]) {
				t.Errorf("issued by %v, want the chain of before", chain)
			}
			if n := len(f.service.Issuers()); n != 1 {
				t.Errorf("%d issuers, want the one of before", n)
			}
		})
	}
}

// TestReloadIssuers: whose tokens are good changes with the reload, and so does
// what the configuration says.
func TestReloadIssuers(t *testing.T) {
	f := newFixture(t, nil)
	second := identitytest.New(t, f.cfg.Now)
	ask := func(i *identitytest.Issuer) int {
		t.Helper()
		return f.post(t, v2Path, i.Token(t, alice()), challengeBody(t, newECDSA(t, elliptic.P256()), "alice@example.com")).Code
	}
	trusted := func(urls ...string) {
		t.Helper()
		set := f.settings()
		set.Issuers = nil
		for _, url := range urls {
			set.Issuers = append(set.Issuers, identity.Issuer{URL: url, ClientID: identitytest.ClientID, Type: identity.Email})
		}
		if err := f.service.Reload(set); err != nil {
			t.Fatal(err)
		}
		config := f.get(t, "/api/v2/configuration").Body.String()
		for _, url := range []string{f.issuer.URL, second.URL} {
			if got, want := strings.Contains(config, url), slices.Contains(urls, url); got != want {
				t.Errorf("configuration names %s: %v, want %v", url, got, want)
			}
		}
	}
	if first, other := ask(f.issuer), ask(second); first != 200 || other != 400 {
		t.Errorf("before: %d, %d, want 200, 400", first, other)
	}
	trusted(f.issuer.URL, second.URL)
	if first, other := ask(f.issuer), ask(second); first != 200 || other != 200 {
		t.Errorf("with both: %d, %d, want 200, 200", first, other)
	}
	trusted(second.URL)
	if first, other := ask(f.issuer), ask(second); first != 400 || other != 200 {
		t.Errorf("without the first: %d, %d, want 400, 200", first, other)
	}
}

// TestApprovedBeforeSwitch: a request that was approved before the switch ends with
// the chain and key that it began with, and so does one whose log answers after it.
func TestApprovedBeforeSwitch(t *testing.T) {
	between := func() error { return nil }
	f := newFixture(t, func(f *fixture) {
		f.cfg.CTLogs[0].Submit = func(ctx context.Context, chain [][]byte) ([]byte, error) {
			if err := between(); err != nil {
				return nil, err
			}
			return f.log.Submit(ctx, chain)
		}
	})
	next := f.settingsOn(t)
	approve := func() *Approval {
		t.Helper()
		key := newECDSA(t, elliptic.P256())
		a, err := f.service.Prepare(t.Context(), Request{
			Token: f.issuer.Token(t, alice()), PublicKey: []byte(publicPEM(t, key.Public())), Proof: sign(t, key, "alice@example.com"),
		})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	before := approve()
	between = func() error { return f.service.Reload(next) } // precertificate and certificate
	wantIssuedBy(t, f, before, f.cfg.Chain[0])
	wantIssuedBy(t, f, approve(), next.Chain[0])
}

func wantIssuedBy(t *testing.T, f *fixture, a *Approval, issuer *x509.Certificate) {
	t.Helper()
	der, err := f.service.Issue(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := leaf.CheckSignatureFrom(issuer); err != nil {
		t.Errorf("certificate is not by %s: %v", issuer.SerialNumber, err)
	}
}

// TestTrustBundleAfterSwitch: the chain in use comes first, retired ones behind it.
func TestTrustBundleAfterSwitch(t *testing.T) {
	f := newFixture(t, nil)
	next := f.settingsOn(t)
	next.Retired = [][]*x509.Certificate{f.cfg.Chain}
	if err := f.service.Reload(next); err != nil {
		t.Fatal(err)
	}
	var bundle struct {
		Chains []struct {
			Certificates []string `json:"certificates"`
		} `json:"chains"`
	}
	decode(t, f.get(t, "/api/v2/trustBundle").Body, &bundle)
	want := string(pki.CertificatesPEM(slices.Concat(next.Chain, f.cfg.Chain)))
	var got string
	for _, c := range bundle.Chains {
		got += strings.Join(c.Certificates, "")
	}
	if len(bundle.Chains) != 2 || got != want {
		t.Errorf("bundle of %d chains:\n%s\nwant 2:\n%s", len(bundle.Chains), got, want)
	}
	if got := f.get(t, "/api/v1/rootCert").Body.String(); got != want {
		t.Errorf("root certificates:\n%s\nwant\n%s", got, want)
	}
	if chain := f.service.Trust().Chain; !chain[0].Equal(next.Chain[0]) {
		t.Errorf("trust names %s, want the chain in use", chain[0].Subject)
	}
}

// TestSwitchUnderWriters: 32 clients ask while two chains take turns. Each answer is
// of one chain from end to end, with an SCT over it, and no request fails.
func TestSwitchUnderWriters(t *testing.T) {
	const writers, each = 32, 8
	f := newFixture(t, nil)
	sets := []Settings{f.settings(), f.settingsOn(t)}
	token, key := f.issuer.Token(t, alice()), newECDSA(t, elliptic.P256())
	body, err := json.Marshal(challengeBody(t, key, "alice@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var switches int
	var switching, writing sync.WaitGroup
	switching.Go(func() {
		for ; !done.Load(); switches++ {
			if err := f.service.Reload(sets[(switches+1)%2]); err != nil {
				t.Errorf("switch: %v", err)
				return
			}
		}
	})
	answers := make(chan *httptest.ResponseRecorder, writers*each)
	for range writers {
		writing.Go(func() {
			for range each {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, v2Path, bytes.NewReader(body))
				r.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				f.mux.ServeHTTP(w, r)
				answers <- w
			}
		})
	}
	writing.Wait()
	done.Store(true)
	switching.Wait()
	close(answers)
	by := map[int]int{}
	for w := range answers {
		chain := issued(t, w)
		which := slices.IndexFunc(sets, func(set Settings) bool { return slices.EqualFunc(set.Chain, chain[1:], (*x509.Certificate).Equal) })
		if which < 0 {
			t.Fatalf("answer has a chain that is neither's: %v", chain[1:])
		}
		if err := chain[0].CheckSignatureFrom(chain[1]); err != nil {
			t.Errorf("certificate is not by the chain of its answer: %v", err)
		}
		f.checkSCT(t, chain)
		by[which]++
	}
	t.Logf("%d switches; %d and %d certificates by either chain", switches, by[0], by[1])
	if switches < 2 || by[0]+by[1] != writers*each {
		t.Errorf("%d switches, %d certificates, want 2 or more and %d", switches, by[0]+by[1], writers*each)
	}
}
