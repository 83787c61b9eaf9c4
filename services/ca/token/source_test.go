package token_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity/identitytest"
)

// TestOddKeys: a key set that leaks a symmetric key must not let anybody
// sign with it, nor may an odd key stop the good ones.
func TestOddKeys(t *testing.T) {
	s := newSetup(t)
	s.issuer.AddToKeySet(
		jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "oct"},
		map[string]string{"kty": "EC", "crv": "secp256k1", "kid": "odd"},
		"not a key",
	)
	accepted(t, s.verifier, s.issuer.Token(t, nil))
	encryption := identitytest.NewKey(t, "enc")
	s2 := newSetup(t)
	s2.issuer.AddToKeySet(jose.JSONWebKey{Key: encryption.Private.Public(), KeyID: "enc", Use: "enc"})
	refused(t, s2.verifier, identitytest.Sign(t, encryption, s2.issuer.Claims(nil)), "no key of the issuer")
}

func TestWithoutKeyID(t *testing.T) {
	s := newSetup(t)
	key := s.issuer.Key()
	s.issuer.AddToKeySet(jose.JSONWebKey{Key: identitytest.NewKey(t, "").Private.Public(), KeyID: "another"})
	key.ID = ""
	accepted(t, s.verifier, identitytest.Sign(t, key, s.issuer.Claims(nil)))
}

// TestRotation: a token of a new key makes us look once, and a flood of tokens
// that no key verifies makes us look once in ten seconds.
func TestRotation(t *testing.T) {
	s := newSetup(t)
	old := s.issuer.Token(t, nil)
	accepted(t, s.verifier, old)
	s.clock.Advance(time.Minute)
	s.issuer.SetKey(identitytest.NewKey(t, "key-2"))
	accepted(t, s.verifier, old) // no look yet: what we have is good enough
	accepted(t, s.verifier, s.issuer.Token(t, nil))
	if got := s.issuer.Fetched(); got != 2 {
		t.Errorf("keys were read %d times, want 2", got)
	}
	refused(t, s.verifier, old, "no key of the issuer")
	for range 20 {
		refused(t, s.verifier, flip(old), "no key of the issuer")
	}
	if got := s.issuer.Fetched(); got != 2 {
		t.Errorf("within ten seconds keys were read %d times, want 2", got)
	}
	s.clock.Advance(10 * time.Second)
	refused(t, s.verifier, old, "no key of the issuer")
	if got := s.issuer.Fetched(); got != 3 {
		t.Errorf("after ten seconds keys were read %d times, want 3", got)
	}
}

// TestWithdrawnKey: without any odd token, a key that was withdrawn stops working
// within the hour.
func TestWithdrawnKey(t *testing.T) {
	s := newSetup(t)
	raw := s.issuer.Token(t, claims{"exp": s.clock.Now().Add(24 * time.Hour).Unix()})
	accepted(t, s.verifier, raw)
	s.issuer.SetKey(identitytest.NewKey(t, "key-2"))
	s.clock.Advance(59 * time.Minute)
	accepted(t, s.verifier, raw)
	s.clock.Advance(time.Minute)
	refused(t, s.verifier, raw, "no key of the issuer")
}

// TestOutage: keys in hand outlive an issuer's outage, and it is logged.
func TestOutage(t *testing.T) {
	s := newSetup(t)
	accepted(t, s.verifier, s.issuer.Token(t, nil))
	s.issuer.Handle(http.NotFoundHandler())
	s.clock.Advance(2 * time.Hour)
	accepted(t, s.verifier, s.issuer.Token(t, nil))
	if !strings.Contains(s.logged.String(), "last keys stay in use") {
		t.Errorf("log = %q, want a line on the outage", s.logged)
	}
}

// TestUnreachableAtStart: not fatal, logged, and asked again.
func TestUnreachableAtStart(t *testing.T) {
	s := newSetup(t)
	s.issuer.Handle(http.NotFoundHandler())
	s.verifier.Warm(t.Context())
	if !strings.Contains(s.logged.String(), "not reachable yet") {
		t.Errorf("log = %q, want a line on the issuer", s.logged)
	}
	unanswered(t, s.verifier, s.issuer.Token(t, nil))
	s.issuer.Handle(nil)
	unanswered(t, s.verifier, s.issuer.Token(t, nil)) // asked a moment ago
	s.clock.Advance(time.Second)
	accepted(t, s.verifier, s.issuer.Token(t, nil))
}

func TestWarm(t *testing.T) {
	s := newSetup(t)
	s.verifier.Warm(t.Context())
	s.issuer.Handle(http.NotFoundHandler())
	accepted(t, s.verifier, s.issuer.Token(t, nil))
}

// TestCoalescing: many first tokens at once read the keys once.
func TestCoalescing(t *testing.T) {
	s := newSetup(t)
	raw := s.issuer.Token(t, nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := s.verifier.Verify(t.Context(), raw); err != nil {
				t.Errorf("token refused: %v", err)
			}
		})
	}
	wg.Wait()
	if got := s.issuer.Fetched(); got != 1 {
		t.Errorf("keys were read %d times, want once", got)
	}
}

// TestCallerLeaves: a caller that goes away fails alone and leaves no trace.
func TestCallerLeaves(t *testing.T) {
	s := newSetup(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.verifier.Verify(ctx, s.issuer.Token(t, nil)); fault.KindOf(err) != fault.Canceled {
		t.Errorf("a request without keys and without time: error = %v, want that of a client that went away", err)
	}
	accepted(t, s.verifier, s.issuer.Token(t, nil))
}

// TestRefusedDiscovery: each issuer is good but for one fact of what it serves.
func TestRefusedDiscovery(t *testing.T) {
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	defer elsewhere.Close()
	reached := make(chan struct{}, 100)
	elsewhere.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached <- struct{}{} })

	tests := []struct {
		name   string
		change func(*identitytest.Issuer)
	}{
		{"other issuer", func(i *identitytest.Issuer) { i.SetDiscovery("issuer", "https://evil.example") }},
		{"issuer with a slash", func(i *identitytest.Issuer) { i.SetDiscovery("issuer", i.URL+"/") }},
		{"no keys URL", func(i *identitytest.Issuer) { i.SetDiscovery("jwks_uri", nil) }},
		{"file keys URL", func(i *identitytest.Issuer) { i.SetDiscovery("jwks_uri", "file:///etc/passwd") }},
		{"keys missing", func(i *identitytest.Issuer) { i.SetDiscovery("jwks_uri", i.URL+"/none") }},
		{"redirect to another host", func(i *identitytest.Issuer) { i.Handle(http.RedirectHandler(elsewhere.URL, http.StatusFound)) }},
		{"redirect in circles", func(i *identitytest.Issuer) { i.Handle(http.RedirectHandler(i.URL+"/again", http.StatusFound)) }},
		{"endless document", func(i *identitytest.Issuer) {
			keys := setup{issuer: i}.keySet(t)
			i.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/keys" {
					fmt.Fprint(w, keys)
					return
				}
				fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["ES256"]}%s`, i.URL, i.URL+"/keys", strings.Repeat(" ", 1<<20))
			}))
		}},
		{"no JSON", func(i *identitytest.Issuer) {
			i.Handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSetup(t)
			tt.change(s.issuer)
			unanswered(t, s.verifier, s.issuer.Token(t, nil))
		})
	}
	if len(reached) != 0 {
		t.Errorf("the other host was reached %d times", len(reached))
	}
}

// TestRedirectOnTheSameHost is allowed.
func TestRedirectOnTheSameHost(t *testing.T) {
	s := newSetup(t)
	s.issuer.SetDiscovery("jwks_uri", s.issuer.URL+"/moved")
	raw := s.issuer.Token(t, nil)
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["ES256"]}`, s.issuer.URL, s.issuer.URL+"/moved")
	})
	mux.Handle("/moved", http.RedirectHandler("/keys", http.StatusFound))
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, s.keySet(t))
	})
	s.issuer.Handle(mux)
	accepted(t, s.verifier, raw)
}

// TestTLSIssuer: a private root reaches the issuer, without it nothing does.
func TestTLSIssuer(t *testing.T) {
	s := newSetup(t)
	server := httptest.NewUnstartedServer(s.issuer)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	s.issuer.SetDiscovery("issuer", server.URL)
	s.issuer.SetDiscovery("jwks_uri", server.URL+"/keys")
	raw := s.issuer.Token(t, claims{"iss": server.URL})

	issuer := emailIssuer(server.URL)
	unanswered(t, s.trusting(t, issuer), raw)
	issuer.RootCAs = append(issuer.RootCAs, server.Certificate())
	accepted(t, s.trusting(t, issuer), raw)

	s.issuer.SetDiscovery("jwks_uri", s.issuer.URL+"/keys") // plain http
	unanswered(t, s.trusting(t, issuer), raw)
}

// inProcess answers requests by a handler, as a stack does for its own issuer.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

func TestOwnClient(t *testing.T) {
	s := newSetup(t)
	const url = "http://stack.example:8080/dex"
	mux := http.NewServeMux()
	mux.Handle("/dex/", http.StripPrefix("/dex", s.issuer))
	s.issuer.SetDiscovery("issuer", url)
	s.issuer.SetDiscovery("jwks_uri", url+"/keys")
	issuer := emailIssuer(url)
	issuer.HTTPClient = &http.Client{Transport: inProcess{mux}}
	accepted(t, s.trusting(t, issuer), s.issuer.Token(t, claims{"iss": url}))

	issuer.HTTPClient.Transport = inProcess{http.RedirectHandler(s.issuer.URL, http.StatusFound)}
	unanswered(t, s.trusting(t, issuer), s.issuer.Token(t, claims{"iss": url}))
}

// TestPatterns: what each `*` may and may not stand for (contract: ca.md §3).
func TestPatterns(t *testing.T) {
	s := newSetup(t)
	anyHost := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		url := "https://" + r.URL.Host + strings.TrimSuffix(r.URL.Path, "/.well-known/openid-configuration")
		if strings.HasSuffix(r.URL.Path, "/keys") {
			fmt.Fprint(w, s.keySet(t))
			return
		}
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["ES256"]}`, url, url+"/keys")
	})
	client := &http.Client{Transport: inProcess{anyHost}}
	pattern := emailIssuer("https://oidc.*.example.com/id/*")
	pattern.HTTPClient = client
	exact := emailIssuer("https://oidc.eu.example.com/id/EXACT")
	exact.HTTPClient, exact.ClientID = client, "other-client"
	v := s.trusting(t, pattern, exact)

	for _, url := range []string{"https://oidc.eu.example.com/id/A1", "https://oidc.us_west-2.example.com/id/x-y"} {
		got := accepted(t, v, s.issuer.Token(t, claims{"iss": url}))
		if got.Claims.Issuer != url || got.Issuer.URL != pattern.URL {
			t.Errorf("issuer %q by %q, want %q by %q", got.Claims.Issuer, got.Issuer.URL, url, pattern.URL)
		}
	}
	refused(t, v, s.issuer.Token(t, claims{"iss": exact.URL}), "another audience") // exact wins
	for _, url := range []string{
		"https://oidc..example.com/id/A", "https://oidc.a.b.example.com/id/A", "https://oidc.a/b.example.com/id/A",
		"https://oidc.evil.org:80.example.com/id/A", "https://oidc.a%2eb.example.com/id/A",
		"https://oidc.eu.example.com/id/A\n", "https://oidcxeu.example.com/id/A", "https://oidc.eu.example.com/id/A/b", "https://oidc.eu.example.com/id/",
		"xhttps://oidc.eu.example.com/id/A", "https://oidc.eu.example.com/id/A?x",
		"https://evil.org/https://oidc.eu.example.com/id/A", "http://oidc.eu.example.com/id/A", "https://oidc.é.example.com/id/A",
	} {
		refused(t, v, s.issuer.Token(t, claims{"iss": url}), "issuer is not trusted")
	}
}

// keySet is the issuer's key set as JSON.
func (s setup) keySet(t *testing.T) string {
	t.Helper()
	key := s.issuer.Key()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Private.Public(), KeyID: key.ID}}})
	if err != nil {
		t.Error(err)
	}
	return string(set)
}
