package token_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"sigstack/services/ca/identity"
	"sigstack/services/ca/identity/identitytest"
	"sigstack/services/ca/token"
)

// noNetwork fails the test when it is asked anything.
type noNetwork struct{ t *testing.T }

func (n noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("%s was asked", r.URL)
	return nil, http.ErrHandlerTimeout
}

func TestFixedKeys(t *testing.T) {
	const public = "https://token.actions.githubusercontent.com"
	s := newSetup(t)
	issuer := emailIssuer(public)
	issuer.Keys = []byte(s.keySet(t))
	v := s.trusting(t, issuer)
	v.Warm(t.Context())
	got := accepted(t, v, s.issuer.Token(t, claims{"iss": public}))
	if !got.Issuer.LocallyBacked() {
		t.Error("the issuer does not count as locally backed")
	}
	refused(t, v, flip(s.issuer.Token(t, claims{"iss": public})), "no key of the issuer")
	other := identitytest.NewKey(t, "other")
	refused(t, v, identitytest.Sign(t, other, s.issuer.Claims(claims{"iss": public})), "no key of the issuer")
	if s.issuer.Fetched() != 0 || s.logged.Len() != 0 {
		t.Errorf("keys were read %d times, log %q: want neither", s.issuer.Fetched(), s.logged)
	}
}

func TestCheckKeySet(t *testing.T) {
	key := identitytest.NewKey(t, "a").Private
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	set := func(keys ...any) string {
		data, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	good := jose.JSONWebKey{Key: key.Public(), KeyID: "a"}
	tests := []struct{ name, data, want string }{
		{"good", set(good), ""},
		{"two without kid", set(jose.JSONWebKey{Key: key.Public()}, jose.JSONWebKey{Key: key.Public()}), ""},
		{"good beside an unknown kind", set(good, map[string]string{"kty": "odd", "kid": "o"}), `key 2 (kid "o") cannot be read`},
		{"weak", set(good, jose.JSONWebKey{Key: weak.Public(), KeyID: "w"}), `key 2 (kid "w") is an RSA key of 1024 bits`},
		{"duplicate", set(good, good), `key 2 (kid "a") has the kid of key 1`},
		{"encryption", set(good, jose.JSONWebKey{Key: key.Public(), KeyID: "e", Use: "enc"}), `key 2 (kid "e") is for use "enc"`},
		{"another algorithm", set(jose.JSONWebKey{Key: key.Public(), Algorithm: "ECDH-ES"}), `key 1 is for algorithm "ECDH-ES"`},
		{"no key at all", set("not a key"), "key 1 cannot be read"},
		{"private", set(good, jose.JSONWebKey{Key: key.(*ecdsa.PrivateKey), KeyID: "b"}), `key 2 (kid "b") is a private or secret one`},
		{"secret", set(jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef")}), "key 1 is a private or secret one"},
		{"none", set(), "no key that can verify"},
		{"too many", set(slices.Repeat([]any{good}, 101)...), "more than 100"},
		{"PEM", "\n-----BEGIN PUBLIC KEY-----", "this is PEM: want a key set (JWKS)"},
		{"empty", " \n", "the file is empty: want a key set (JWKS)"},
		{"no JSON", "kid: 1", "want a key set (JWKS)"},
	}
	for _, tt := range tests {
		err := token.CheckKeySet([]byte(tt.data))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one with %q", tt.name, err, tt.want)
		}
		issuer := emailIssuer("https://a.example")
		issuer.Keys = []byte(tt.data)
		if _, err := token.New(token.Config{Issuers: []identity.Issuer{issuer}, Log: slog.New(slog.DiscardHandler)}); (err == nil) != (tt.want == "") {
			t.Errorf("%s: a verifier: error = %v", tt.name, err)
		}
	}
}

// TestDiscoveryURL: another host answers for a public issuer, and for its keys.
func TestDiscoveryURL(t *testing.T) {
	const public = "https://token.actions.githubusercontent.com"
	s := newSetup(t)
	issuer := emailIssuer(public)
	issuer.DiscoveryURL = s.issuer.URL
	s.issuer.SetDiscovery("issuer", public)
	raw := s.issuer.Token(t, claims{"iss": public})
	got := accepted(t, s.trusting(t, issuer), raw)
	if got.Issuer.URL != public || !got.Issuer.LocallyBacked() {
		t.Errorf("issuer %+v, want the public one, locally backed", got.Issuer)
	}
	refused(t, s.trusting(t, issuer), s.issuer.Token(t, nil), "not trusted") // by the local host's own name

	s.issuer.SetDiscovery("jwks_uri", public+"/.well-known/jwks")
	unanswered(t, s.trusting(t, issuer), raw) // leads away
	s.issuer.SetDiscovery("jwks_uri", s.issuer.URL+"/keys")
	s.issuer.SetDiscovery("issuer", s.issuer.URL)
	unanswered(t, s.trusting(t, issuer), raw) // names itself
}

// TestAudiences: one URL, or one pattern, has several types, and the audience tells
// which.
func TestAudiences(t *testing.T) {
	s := newSetup(t)
	for _, wild := range []bool{false, true} {
		people := emailIssuer(s.issuer.URL)
		if wild {
			people = patternOf(s.issuer.URL, "127.0.0.*")
		}
		machines := people
		machines.ClientID, machines.Type = "ci", identity.GitHubWorkflow
		v := s.trusting(t, people, machines)
		tests := []struct {
			audience any
			want     identity.Type
		}{
			{"sigstore", identity.Email},
			{"ci", identity.GitHubWorkflow},
			{[]string{"other", "ci"}, identity.GitHubWorkflow},
			{[]string{"ci", "sigstore"}, identity.Email}, // the first that is configured
		}
		for _, tt := range tests {
			if got := accepted(t, v, s.issuer.Token(t, claims{"aud": tt.audience})); got.Issuer.Type != tt.want {
				t.Errorf("audience %v: type %s, want %s", tt.audience, got.Issuer.Type, tt.want)
			}
		}
		refused(t, v, s.issuer.Token(t, claims{"aud": "else"}), "another audience")
	}
	if got := s.issuer.Fetched(); got != 2 {
		t.Errorf("keys were read %d times, want once by each verifier", got)
	}
}

// patternOf is an email issuer whose pattern matches the URL of one on this machine.
// Plain http takes a client of its own.
func patternOf(url, host string) identity.Issuer {
	issuer := emailIssuer(strings.Replace(url, "127.0.0.1", host, 1))
	issuer.HTTPClient = &http.Client{}
	return issuer
}

// TestOverlappingPatterns: the first one that is for the audience counts.
func TestOverlappingPatterns(t *testing.T) {
	s := newSetup(t)
	wide, narrow := patternOf(s.issuer.URL, "127.*.*.*"), patternOf(s.issuer.URL, "127.0.0.*")
	narrow.ClientID = "narrow"
	v := s.trusting(t, wide, narrow)
	for audience, want := range map[string]string{"sigstore": wide.URL, "narrow": narrow.URL} {
		if got := accepted(t, v, s.issuer.Token(t, claims{"aud": audience})); got.Issuer.URL != want {
			t.Errorf("audience %s by %s, want %s", audience, got.Issuer.URL, want)
		}
	}
}

func TestNewTwice(t *testing.T) {
	good := emailIssuer("https://a.example")
	keyed := good
	keyed.ClientID, keyed.Keys = "other", []byte("{}")
	tests := []struct {
		name   string
		second identity.Issuer
		want   string
	}{
		{"same audience", good, `configured twice for audience "sigstore"`},
		{"other keys", keyed, "with different keys"},
	}
	for _, tt := range tests {
		_, err := token.New(token.Config{Issuers: []identity.Issuer{good, tt.second}, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

// TestPrevious: keys of issuers that stay are kept, those of others are not.
func TestPrevious(t *testing.T) {
	s, other := newSetup(t), newSetup(t)
	pattern := patternOf(other.issuer.URL, "127.0.0.*")
	before := s.trusting(t, emailIssuer(s.issuer.URL), pattern)
	raw, otherRaw := s.issuer.Token(t, nil), other.issuer.Token(t, nil)
	accepted(t, before, raw)
	accepted(t, before, otherRaw)

	renew := func(issuers ...identity.Issuer) *token.Verifier {
		t.Helper()
		v, err := token.New(token.Config{Issuers: issuers, Now: s.clock.Now, Log: slog.New(slog.DiscardHandler), Previous: before})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	machines := emailIssuer(s.issuer.URL)
	machines.Type, machines.ClientID = identity.GitHubWorkflow, "ci"
	after := renew(machines, pattern)
	s.issuer.Handle(http.NotFoundHandler())
	other.issuer.Handle(http.NotFoundHandler())
	if got := accepted(t, after, s.issuer.Token(t, claims{"aud": "ci"})); got.Issuer.Type != identity.GitHubWorkflow {
		t.Errorf("type %s, want the new one", got.Issuer.Type)
	}
	accepted(t, after, otherRaw)
	refused(t, after, raw, "another audience")
	refused(t, renew(pattern), raw, "not trusted")

	changed := emailIssuer(s.issuer.URL)
	changed.HTTPClient = &http.Client{Transport: inProcess{http.NotFoundHandler()}}
	unanswered(t, renew(changed), raw)
	fixed := emailIssuer(s.issuer.URL)
	fixed.Keys = []byte(other.keySet(t))
	refused(t, renew(fixed), raw, "no key of the issuer")
}

// bearers is a TLS issuer that remembers who showed it which token.
type bearers struct {
	setup
	server *httptest.Server
	mu     sync.Mutex
	shown  []string // guarded by mu: path and Authorization
}

func newBearers(t *testing.T) *bearers {
	t.Helper()
	b := &bearers{setup: newSetup(t)}
	b.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.shown = append(b.shown, r.URL.Path+" "+r.Header.Get("Authorization"))
		b.mu.Unlock()
		b.issuer.ServeHTTP(w, r)
	}))
	t.Cleanup(b.server.Close)
	b.issuer.SetDiscovery("issuer", b.server.URL)
	b.issuer.SetDiscovery("jwks_uri", b.server.URL+"/keys")
	return b
}

// TestBearerToken: the issuer's own host is shown the service account's token, each
// time the one that the file holds, and nobody else is.
func TestBearerToken(t *testing.T) {
	b, elsewhere := newBearers(t), newBearers(t)
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	issuer := identity.Issuer{
		URL: b.server.URL, ClientID: "sigstore", Type: identity.Kubernetes, BearerTokenFile: file,
		RootCAs: []*x509.Certificate{b.server.Certificate(), elsewhere.server.Certificate()},
	}
	raw := b.issuer.Token(t, claims{"iss": b.server.URL})
	accepted(t, b.trusting(t, issuer), raw)
	write("second")
	b.issuer.SetDiscovery("jwks_uri", elsewhere.server.URL+"/keys")
	elsewhere.issuer.SetKey(b.issuer.Key())
	accepted(t, b.trusting(t, issuer), raw)
	want := []string{"/.well-known/openid-configuration Bearer first", "/keys Bearer first", "/.well-known/openid-configuration Bearer second"}
	if !slices.Equal(b.shown, want) {
		t.Errorf("shown %q, want %q", b.shown, want)
	}
	if want := []string{"/keys "}; !slices.Equal(elsewhere.shown, want) {
		t.Errorf("another host was shown %q, want %q", elsewhere.shown, want)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	unanswered(t, b.trusting(t, issuer), raw)
}

// TestBearerTokenNotLeaked: an issuer that a pattern matches is shown no token,
// though another one of the configuration has one.
func TestBearerTokenNotLeaked(t *testing.T) {
	own, matched := newBearers(t), newBearers(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	exact := identity.Issuer{
		URL: own.server.URL, ClientID: "sigstore", Type: identity.Kubernetes, BearerTokenFile: file,
		RootCAs: []*x509.Certificate{own.server.Certificate()},
	}
	pattern := exact
	pattern.URL, pattern.BearerTokenFile = strings.Replace(matched.server.URL, "127.0.0.1", "127.0.0.*", 1), ""
	v := own.trusting(t, exact, pattern)
	accepted(t, v, matched.issuer.Token(t, claims{"iss": matched.server.URL}))
	if want := []string{"/.well-known/openid-configuration ", "/keys "}; !slices.Equal(matched.shown, want) {
		t.Errorf("the matched issuer was shown %q, want %q", matched.shown, want)
	}
	pattern.BearerTokenFile = file
	if _, err := token.New(token.Config{Issuers: []identity.Issuer{pattern}, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a pattern with a bearer token was taken")
	}
}

func TestOldTLS(t *testing.T) {
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true} {
		s := newSetup(t)
		server := httptest.NewUnstartedServer(s.issuer)
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version}
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		server.StartTLS()
		t.Cleanup(server.Close)
		s.issuer.SetDiscovery("issuer", server.URL)
		s.issuer.SetDiscovery("jwks_uri", server.URL+"/keys")
		issuer := emailIssuer(server.URL)
		issuer.RootCAs = []*x509.Certificate{server.Certificate()}
		raw := s.issuer.Token(t, claims{"iss": server.URL})
		if ok {
			accepted(t, s.trusting(t, issuer), raw)
			continue
		}
		unanswered(t, s.trusting(t, issuer), raw)
	}
}

// TestMetaURLs: patterns of real providers, what they are meant for, and what an
// attacker would like them to match.
func TestMetaURLs(t *testing.T) {
	s := newSetup(t)
	tests := []struct {
		pattern      string
		hits, misses []string
	}{
		{
			"https://oidc.eks.*.amazonaws.com/id/*",
			[]string{"https://oidc.eks.us-west-2.amazonaws.com/id/B02C93B6A2D30341AD01E1B6D48164CB"},
			[]string{
				"https://oidc.eks.us-west-2.amazonaws.com/id/B02C93B6A2D30341AD01E1B6D48164CB/", "https://oidc.eks.us.west.amazonaws.com/id/A",
				"https://oidc.eks.evil.example/x.amazonaws.com/id/A", "https://evil.example/?https://oidc.eks.a.amazonaws.com/id/A",
				"https://evil.example#https://oidc.eks.a.amazonaws.com/id/A", "https://oidc.eks.a.amazonaws.com.evil.example/id/A",
				"https://oidc.eks.a.amazonaws.com/id/A@evil.example", "https://user@oidc.eks.a.amazonaws.com/id/A",
				"https://oidc.eks.a.amazonaws.com:8443/id/A", "https://oidc.eks.a.amazonaws.com/id/..%2f", "https://oidc.eks.a%23.amazonaws.com/id/A",
				"HTTPS://oidc.eks.a.amazonaws.com/id/A", " https://oidc.eks.a.amazonaws.com/id/A", "https://oidcXeks.a.amazonaws.com/id/A",
			},
		},
		{
			"https://container.googleapis.com/v1/projects/*/locations/*/clusters/*",
			[]string{"https://container.googleapis.com/v1/projects/some-project/locations/us-west1-b/clusters/tenant_cluster"},
			[]string{
				"https://container.googleapis.com/v1/projects/a/b/locations/c/clusters/d", "https://container.googleapis.com/v1/projects/a/locations/b/clusters/",
				"https://container.googleapis.com/v1/projects/../locations/b/clusters/c", "https://container.googleapis.com/v1/projects/a/locations/b/clusters/c?d",
			},
		},
		{
			"https://*.oic.prod-aks.azure.com/*",
			[]string{"https://eastus.oic.prod-aks.azure.com/tenant"},
			[]string{
				"https://169.254.169.254#.oic.prod-aks.azure.com/a", "https://localhost:80/.oic.prod-aks.azure.com/a",
				"https://a.b.oic.prod-aks.azure.com/a", "https://.oic.prod-aks.azure.com/a", "https://a.oic.prod-aks.azure.com/a/b",
			},
		},
	}
	for _, tt := range tests {
		issuer := emailIssuer(tt.pattern)
		issuer.HTTPClient = &http.Client{Transport: inProcess{anyIssuer(t, s)}}
		v := s.trusting(t, issuer)
		for _, url := range tt.hits {
			accepted(t, v, s.issuer.Token(t, claims{"iss": url}))
		}
		issuer.HTTPClient = &http.Client{Transport: noNetwork{t}}
		v = s.trusting(t, issuer)
		for _, url := range tt.misses {
			refused(t, v, s.issuer.Token(t, claims{"iss": url}), "issuer is not trusted")
		}
	}
}

// anyIssuer answers as every issuer that it is asked as.
func anyIssuer(t *testing.T, s setup) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/keys") {
			fmt.Fprint(w, s.keySet(t))
			return
		}
		url := "https://" + r.URL.Host + strings.TrimSuffix(r.URL.Path, "/.well-known/openid-configuration")
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["ES256"]}`, url, url+"/keys")
	})
}

// FuzzPattern: whatever a pattern matches has the pattern's own parts, in order,
// between texts without any character that separates parts of a URL.
func FuzzPattern(f *testing.F) {
	s := newSetup(f)
	f.Add("https://oidc.eks.us-west-2.amazonaws.com/id/A1")
	f.Add("https://evil.example/.amazonaws.com/id/A1")
	issuer := emailIssuer("https://oidc.eks.*.amazonaws.com/id/*")
	issuer.HTTPClient = &http.Client{Transport: inProcess{http.NotFoundHandler()}}
	v := s.trusting(f, issuer)
	f.Fuzz(func(t *testing.T, url string) {
		raw := s.issuer.Token(t, claims{"iss": url})
		_, err := v.Verify(t.Context(), raw)
		if err == nil || !strings.Contains(err.Error(), "issuer's keys are not available") {
			return // no match
		}
		rest, ok := strings.CutPrefix(url, "https://oidc.eks.")
		region, id, ok2 := strings.Cut(rest, ".amazonaws.com/id/")
		if !ok || !ok2 || region == "" || id == "" || strings.ContainsAny(region+id, "./:@?#%\\ ") {
			t.Errorf("matched %q", url)
		}
	})
}
