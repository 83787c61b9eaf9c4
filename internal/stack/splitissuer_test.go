package stack_test

import (
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
)

// TestIssuerAwayWhenTheCAStarts: a good token is good again as soon as its issuer is
// back; meanwhile clients are told to try again, and nobody restarts anything.
func TestIssuerAwayWhenTheCAStarts(t *testing.T) {
	whole, dirs := splitDir(t)
	front := startProcess(t, dirs["front"])
	ca, oidc := startProcess(t, dirs["ca"]), startProcess(t, dirs["oidc"])
	startProcess(t, dirs["logs"])
	front.await(t)
	r := running{Stack: front.stack}
	token := demoToken(t, whole, r)
	if w := certificate(t, r, token); w.Code != http.StatusOK {
		t.Fatalf("before: %d %s", w.Code, w.Body)
	}

	oidc.end(t)
	if w := certificate(t, r, token); w.Code != http.StatusOK {
		t.Errorf("a CA that knows the issuer's keys: %d %s, want a certificate", w.Code, w.Body)
	}
	ca.end(t)
	startProcess(t, dirs["ca"])
	deadline := time.Now().Add(time.Minute)
	w := certificate(t, r, token)
	for !strings.Contains(w.Body.String(), "could not be reached") && time.Now().Before(deadline) {
		if w.Code != http.StatusServiceUnavailable {
			break
		}
		time.Sleep(50 * time.Millisecond) // until the front has found the CA
		w = certificate(t, r, token)
	}
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "could not be reached") {
		t.Errorf("a CA that does not: %d %v %s, want 503, when to try again, and that the issuer could not be reached", w.Code, w.Header(), w.Body)
	}

	startProcess(t, dirs["oidc"])
	for w = certificate(t, r, token); w.Code == http.StatusServiceUnavailable && time.Now().Before(deadline); w = certificate(t, r, token) {
		time.Sleep(50 * time.Millisecond)
	}
	if w.Code != http.StatusOK {
		t.Errorf("when the issuer is back: %d %s, want a certificate", w.Code, w.Body)
	}
}

// TestSplitIssuers: the processes that accept tokens get the files of issuers.
func TestSplitIssuers(t *testing.T) {
	whole := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	write(t, whole, "fulcio.yaml", []byte("oidc-issuers:\n  https://f.example: {issuer-url: https://f.example, client-id: sigstore, type: email}\n"))
	write(t, filepath.Join(whole, "keys"), "ci.json", []byte(keySetText))
	edit(t, whole, func(c *config.Config) {
		c.CA.IssuersFile = "fulcio.yaml"
		c.CA.CIProviders = map[string]config.CIProvider{"p": {SubjectAlternativeNameTemplate: "{{ .url }}"}}
		c.CA.Issuers = append(c.CA.Issuers, config.Issuer{URL: "https://ci.example", ClientID: "sigstore", Type: "ci-provider", CIProvider: "p", Keys: "keys/ci.json"})
	})
	dirs := split(t, splitConfig(t, whole))
	for _, name := range []string{"ca", "logs"} {
		l := stack.Layout{Dir: dirs[name]}
		conf, err := config.Load(l.Config())
		if err != nil {
			t.Fatal(err)
		}
		issuers, err := l.Issuers(conf)
		if err != nil || len(issuers) != 3 {
			t.Errorf("process %s accepts %v and %v, want three issuers", name, issuers, err)
			continue
		}
		if got := issuers[1]; !got.LocallyBacked || got.CIProvider != "p" {
			t.Errorf("process %s: %+v, want a locally backed one of CI provider p", name, got)
		}
	}
}

// TestFrontTellsOfLocallyBackedIssuers: the kit is the front's, the issuers are the
// CA's; and a mark stays when the issuer has gone.
func TestFrontTellsOfLocallyBackedIssuers(t *testing.T) {
	whole := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	write(t, filepath.Join(whole, "keys"), "ci.json", []byte(keySetText))
	edit(t, whole, func(c *config.Config) {
		c.CA.Issuers = append(c.CA.Issuers, config.Issuer{URL: "https://ci.example", ClientID: "sigstore", Type: "email", Keys: "keys/ci.json"})
	})
	dirs := split(t, splitConfig(t, whole))
	front := startProcess(t, dirs["front"])
	var ca *process
	for _, name := range []string{"logs", "oidc", "ca"} {
		ca = startProcess(t, dirs[name])
	}
	front.await(t)
	wantMarks(t, dirs["front"], "https://ci.example")

	ca.end(t)
	edit(t, dirs["ca"], func(c *config.Config) { c.CA.Issuers = c.CA.Issuers[:len(c.CA.Issuers)-1] })
	startProcess(t, dirs["ca"])
	front.end(t)
	front = startProcess(t, dirs["front"])
	front.await(t)
	wantMarks(t, dirs["front"], "https://ci.example")
}

func wantMarks(t *testing.T, dir string, want ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "client", trust.IssuersName))
	if err != nil {
		t.Fatal(err)
	}
	got, err := trust.ParseIssuers(data)
	if err != nil || !slices.Equal(got.LocallyBacked, want) {
		t.Errorf("the kit tells of %q and %v, want %q", got.LocallyBacked, err, want)
	}
}
