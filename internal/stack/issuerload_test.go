package stack_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/stack"
	"sigstack/internal/trust"
	"sigstack/services/ca/identity"
)

// issuersConfig is a valid configuration whose section ca has these lines, too.
func issuersConfig(t *testing.T, lines string) *config.Config {
	t.Helper()
	conf, err := config.Parse([]byte(`version: 1
profile: serve
url: http://localhost:8080
listen: 127.0.0.1:8080
ctlog: {key: ctlog, tree_id: 77}
ca:
  key: ca
  chain: keys/ca.chain.pem
` + lines))
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

const keySetText = `{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`

// TestIssuerProblems: what only the files tell, each with the field that names it.
func TestIssuerProblems(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "good.json", []byte(keySetText))
	write(t, dir, "private.json", []byte(strings.Replace(keySetText, `"kid"`, `"d":"AA","kid"`, 1)))
	write(t, dir, "fulcio.yaml", []byte("oidc-issuers:\n  https://f.example: {issuer-url: https://f.example, client-id: sigstore, type: email}\n"))
	write(t, dir, "bad.yaml", []byte("oidc-issuers:\n  https://f.example: {issuer-url: https://f.example, client-id: sigstore, type: emial}\n"))
	tests := []struct{ name, lines, want string }{
		{"good", "  issuers_file: fulcio.yaml\n  issuers:\n    - {url: https://a.example, type: email, keys: good.json}\n", ""},
		{"no file", "  issuers_file: none.yaml\n", "ca.issuers_file: open "},
		{"bad file", "  issuers_file: bad.yaml\n", `ca.issuers_file: bad.yaml: line 2: oidc-issuers[https://f.example]: issuer type "emial"`},
		{"listed in both", "  issuers_file: fulcio.yaml\n  issuers:\n    - {url: https://f.example, type: email}\n", `ca.issuers: issuer "https://f.example" is configured twice for audience "sigstore"`},
		{"no keys", "  issuers:\n    - {url: https://a.example, type: email, keys: none.json}\n", "ca.issuers[0].keys: open "},
		{"private keys", "  issuers:\n    - {url: https://a.example, type: email, keys: private.json}\n", `ca.issuers[0].keys: private.json: parse key set: key 1 (kid "1") is a private`},
		{"no authority", "  issuers:\n    - {url: https://a.example, type: email, ca_cert: none.pem}\n", "ca.issuers[0].ca_cert: read certificates"},
		{"no token", "  issuers:\n    - {url: https://a.example, type: kubernetes, service_account_token: none}\n", "ca.issuers[0].service_account_token: open "},
		{"another's domain", "  issuers:\n    - {url: https://a.example, type: uri, subject_domain: https://evil.test}\n", "ca.issuers[0]: subject domain"},
		{"claim path", "  issuers:\n    - {url: https://a.example, type: email, issuer_claim: nothing}\n", "ca.issuers[0]: issuer claim"},
		{"template", "  ci_providers:\n    p: {subject_alternative_name_template: '{{ .a'}\n  issuers:\n    - {url: https://a.example, type: ci-provider, ci_provider: p}\n", "ca.ci_providers.p: subject alternative name"},
		{"extension", "  ci_providers:\n    p: {subject_alternative_name_template: a, extension_templates: {x: y}}\n  issuers:\n    - {url: https://a.example, type: email}\n", `ca.ci_providers.p: "x" is not an extension`},
		{"policy", "  issuers:\n    - {url: https://a.example, type: email, policy: [{name: a, expression: '1 +'}]}\n", "ca.issuers[0].policy[0]: "},
		{"cluster without authority", "  issuers:\n    - {url: https://kubernetes.default.svc, type: kubernetes}\n", "ca.issuers[0]: https://kubernetes.default.svc is a cluster's: there is no "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			issuers, problems := stack.Layout{Dir: dir}.IssuersOf(issuersConfig(t, tt.lines), filepath.Join(dir, "no-ca"), filepath.Join(dir, "no-token"))
			if tt.want == "" {
				if len(problems) > 0 || len(issuers) != 2 || issuers[0].Keys == nil {
					t.Errorf("got %v and %v, want two issuers, the first with keys", issuers, problems)
				}
				return
			}
			if len(problems) != 1 || !strings.HasPrefix(problems[0].String(), tt.want) {
				t.Errorf("problems %v, want one that begins with %q", problems, tt.want)
			}
		})
	}
}

// TestRulesThatDoNotCompile: an issuer whose rules are broken is a problem, and even
// if nobody looks at that, lets nobody in.
func TestRulesThatDoNotCompile(t *testing.T) {
	for _, rule := range []config.PolicyRule{{Name: "a", Expression: "1 +"}, {Expression: "true"}, {Name: "a"}} {
		conf := issuersConfig(t, "  issuers:\n    - {url: https://a.example, type: email}\n")
		conf.CA.Issuers[0].Policy = []config.PolicyRule{rule}
		issuers, problems := stack.Layout{Dir: t.TempDir()}.IssuersOf(conf, "none", "none")
		if len(problems) == 0 && conf.Validate() == nil {
			t.Errorf("%+v: no problem", rule)
		}
		if len(issuers) != 1 || issuers[0].Policy == nil || issuers[0].Policy(identity.Claims{}) == nil {
			t.Errorf("%+v: the issuer lets tokens in without its rules", rule)
		}
	}
}

// TestCluster: who is asked with the cluster's authority and the pod's token.
func TestCluster(t *testing.T) {
	dir := t.TempDir()
	outside := newTLSIssuer(t)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: outside.Certificate().Raw})
	write(t, dir, "ca.crt", authority)
	write(t, dir, "own.pem", authority)
	write(t, dir, "token", []byte("t"))
	write(t, dir, "named", []byte("n"))
	write(t, dir, "keys.json", []byte(keySetText))
	lines := `  issuers:
    - {url: https://kubernetes.default.svc, type: kubernetes}
    - {url: https://kubernetes.default.svc.cluster.local, type: kubernetes}
    - {url: https://api.corp.example, type: kubernetes}
    - {url: https://named.corp.example, type: kubernetes, service_account_token: named}
    - {url: https://own.corp.example, type: kubernetes, ca_cert: own.pem}
    - {url: https://fixed.corp.example, type: kubernetes, keys: keys.json}
    - {url: 'https://oidc.eks.*.amazonaws.com/id/*', type: kubernetes}
    - {url: https://login.corp.example, type: email}
`
	token := filepath.Join(dir, "token")
	want := map[string]string{
		"https://kubernetes.default.svc": "1 " + token, "https://kubernetes.default.svc.cluster.local": "1 " + token,
		"https://api.corp.example": "1 ", "https://named.corp.example": "1 " + filepath.Join(dir, "named"), "https://own.corp.example": "1 ",
		"https://fixed.corp.example": "0 ", "https://oidc.eks.*.amazonaws.com/id/*": "0 ", "https://login.corp.example": "0 ",
	}
	for _, inCluster := range []bool{true, false} {
		text := lines
		if !inCluster {
			text = strings.Replace(lines, "https://kubernetes.default.svc,", "https://kubernetes.example,", 1)
		}
		issuers, problems := stack.Layout{Dir: dir}.IssuersOf(issuersConfig(t, text), filepath.Join(dir, "ca.crt"), token)
		if len(problems) > 0 || len(issuers) != len(want) {
			t.Fatalf("got %d issuers and %v", len(issuers), problems)
		}
		for _, i := range issuers {
			got, expected := fmt.Sprintf("%d %s", len(i.RootCAs), i.BearerTokenFile), want[i.URL]
			if !inCluster && i.URL == "https://named.corp.example" {
				expected = "0 " + filepath.Join(dir, "named")
			} else if !inCluster && i.URL != "https://own.corp.example" {
				expected = "0 "
			}
			if got != expected {
				t.Errorf("in cluster %v: %s is asked with %q, want %q", inCluster, i.URL, got, expected)
			}
		}
	}
	issuers, problems := stack.Layout{Dir: dir}.IssuersOf(issuersConfig(t, lines), filepath.Join(dir, "ca.crt"), filepath.Join(dir, "none"))
	if len(problems) > 0 || issuers[0].BearerTokenFile != "" || len(issuers[0].RootCAs) != 1 {
		t.Errorf("without a token: %v, asked with %q", problems, issuers[0].BearerTokenFile)
	}
}

// TestBrokenMarks: a start, too, writes no marks anew over some that it cannot read.
func TestBrokenMarks(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	kit := filepath.Join(dir, "client", trust.IssuersName)
	write(t, filepath.Dir(kit), trust.IssuersName, []byte("none"))
	s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err == nil {
		_ = s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "put "+kit+" back") {
		t.Errorf("error = %v, want one that names the kit's file", err)
	}
	if got, err := os.ReadFile(kit); err != nil || string(got) != "none" {
		t.Errorf("the file has become %q (%v)", got, err)
	}
}

// TestMarksOnce: however often a stack starts, its kit names a locally backed issuer
// once.
func TestMarksOnce(t *testing.T) {
	const public = "https://token.actions.githubusercontent.com"
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	write(t, dir, "keys.json", []byte(keySetText))
	edit(t, dir, func(c *config.Config) {
		c.CA.Issuers = append(c.CA.Issuers, config.Issuer{URL: public, ClientID: "sigstore", Type: "github-workflow", Keys: "keys.json"})
	})
	for range 2 {
		s := start(t, options(dir, config.ProfileUp))
		s.stop()
		if err := <-s.done; err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{trust.IssuersName, trust.ReadmeName} {
		text, err := os.ReadFile(filepath.Join(dir, "client", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(text), public); got != 1 {
			t.Errorf("%s names the issuer %d times, want once", name, got)
		}
	}
}

// TestLocalDiscovery: a host of the operator's, with an authority of its own, answers
// for a public issuer; what shows trust tells; and a key set that changes is taken by
// a reload.
func TestLocalDiscovery(t *testing.T) {
	const public = "https://token.actions.githubusercontent.com"
	outside := newTLSIssuer(t)
	outside.name = public
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	writeSecret(t, filepath.Join(dir, "keys/git-ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: outside.Certificate().Raw})), 0o644)
	edit(t, dir, func(c *config.Config) {
		c.CA.Issuers = append(c.CA.Issuers,
			config.Issuer{URL: public, ClientID: "sigstore", Type: "email", DiscoveryURL: outside.URL, CACert: "keys/git-ca.pem"})
	})
	s := start(t, options(dir, config.ProfileUp))
	if status, body := certify(t, s.Handler(), outside.token(t, true)); status != http.StatusOK {
		t.Errorf("status %d, want 200: %s", status, body)
	}
	told := func() []string {
		data, err := os.ReadFile(filepath.Join(dir, "client", trust.IssuersName))
		if err != nil {
			t.Fatal(err)
		}
		issuers, err := trust.ParseIssuers(data)
		if err != nil {
			t.Fatal(err)
		}
		return issuers.LocallyBacked
	}
	if got := told(); !slices.Equal(got, []string{public}) {
		t.Errorf("the kit tells of %q, want %q", got, public)
	}
	i := slices.IndexFunc(s.Status().Issuers, func(i stack.IssuerStatus) bool { return i.URL == public })
	if got := s.Status().Issuers[i]; got.Backing != stack.BackedByDiscovery || !got.LocallyBacked || got.DiscoveryURL != outside.URL {
		t.Errorf("status tells %+v, want one backed by %s", got, outside.URL)
	}

	// The same name by a fixed key set, the issuer's, then another's.
	write(t, dir, "keys.json", []byte(keySetText))
	edit(t, dir, func(c *config.Config) {
		c.CA.Issuers[len(c.CA.Issuers)-1] = config.Issuer{URL: public, ClientID: "sigstore", Type: "email", Keys: "keys.json"}
	})
	reload := func(want string) {
		t.Helper()
		got, err := s.Reload(t.Context(), "HUP")
		if want = "issuer " + public + " " + want; err != nil || !slices.Equal(got.Changed, []string{want}) {
			t.Fatalf("took %q, %v, want %q", got.Changed, err, want)
		}
	}
	reload("changed")
	if status, body := certify(t, s.Handler(), outside.token(t, true)); status != http.StatusBadRequest || !strings.Contains(body, "no key of the issuer") {
		t.Errorf("status %d, want 400 for a key that is not in the file: %s", status, body)
	}
	write(t, dir, "keys.json", outside.keySet(t))
	reload("has other keys or authorities")
	outside.Close()
	if status, body := certify(t, s.Handler(), outside.token(t, true)); status != http.StatusOK {
		t.Errorf("status %d, want 200 without the issuer: %s", status, body)
	}
	// Marks that cannot be read are not lost: nothing is taken until they are back.
	kit := filepath.Join(dir, "client", trust.IssuersName)
	marks, err := os.ReadFile(kit)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Dir(kit), trust.IssuersName, []byte(`{"locally_backed":`))
	edit(t, dir, func(c *config.Config) { c.CA.Issuers = c.CA.Issuers[:len(c.CA.Issuers)-1] })
	if got, err := s.Reload(t.Context(), "HUP"); err == nil || !strings.Contains(err.Error(), "put "+kit+" back") {
		t.Errorf("took %q, %v, want an error that names the kit's file", got.Changed, err)
	}
	write(t, filepath.Dir(kit), trust.IssuersName, marks)
	reload("removed")
	if got := told(); !slices.Equal(got, []string{public}) {
		t.Errorf("the kit tells of %q, want %q for ever: its signatures are there", got, public)
	}
	s.stop()
	select {
	case err := <-s.done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the stack does not stop")
	}
}
