package stack_test

import (
	"encoding/pem"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigstack/internal/config"
	"sigstack/internal/stack"
	"sigstack/services/oidc"
)

var update = flag.Bool("update", false, "write docs/connectors.md anew")

// samplesDir holds one file for each type of connector: a heading, what there is
// to know, and a sample.
const samplesDir = "../../services/oidc/connectors"

// sampleConfig is a whole configuration around a sample.
func sampleConfig(t *testing.T, typ, sample string) *config.Config {
	t.Helper()
	profile := config.ProfileServe
	if strings.HasPrefix(typ, "mock") {
		profile = config.ProfileUp
	}
	data := fmt.Sprintf("version: 1\nprofile: %s\nurl: https://sigstack.corp.example\nlisten: 127.0.0.1:8080\noidc:\n  secret: oidc\n  connectors:\n%s",
		profile, regexp.MustCompile(`(?m)^`).ReplaceAllString(sample, "    "))
	conf, err := config.Parse([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

// TestConnectorSamples: every type has a sample that loads, names files that exist
// once an operator has made them, and opens where that asks no network.
func TestConnectorSamples(t *testing.T) {
	dir := t.TempDir()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newTLSIssuer(t).Certificate().Raw})
	for _, typ := range oidc.ConnectorTypes() {
		t.Run(typ, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(samplesDir, typ+".yaml"))
			if err != nil {
				t.Fatalf("type %s has no sample: %v", typ, err)
			}
			for _, name := range regexp.MustCompile(`keys/[a-z-]+(\.pem)?`).FindAllString(string(text), -1) {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				content := []byte("secret\n")
				if strings.HasSuffix(name, ".pem") {
					content = certificate
				}
				writeSecret(t, path, string(content), 0o600)
			}
			conf := sampleConfig(t, typ, string(text))
			if got := conf.OIDC.Connectors; len(got) != 1 || got[0].Type != typ {
				t.Fatalf("sample holds %+v, want one connector of type %s", got, typ)
			}
			if err := stack.CheckConfig(conf); err != nil {
				t.Error(err)
			}
			if err := stack.TryConnectors(dir, conf); err != nil {
				t.Error(err)
			}
		})
	}
	files, err := filepath.Glob(filepath.Join(samplesDir, "*.yaml"))
	if err != nil || len(files) != len(oidc.ConnectorTypes()) {
		t.Errorf("%d samples, %v, want one for each of %d types", len(files), err, len(oidc.ConnectorTypes()))
	}
}

// TestSamplesAreJudged: the test above would notice.
func TestSamplesAreJudged(t *testing.T) {
	for _, tt := range []struct{ typ, sample, want string }{
		{"ldap", "- {type: ldap, id: l, name: L, config: {host: l.example, userSearch: {username: uid}}}\n", "userSearch.baseDN"},
		{"saml", "- {type: saml, id: s, name: S, config: {ssoURL: u, usernameAttr: n, emailAttr: e, ca: keys/missing.pem}}\n", "no such file"},
		{"github", "- {type: github, id: g, name: G, config: {clientID: c, orgz: []}, secrets: {clientSecret: keys/s}}\n", "oidc.connectors[0].config.orgz: not known"},
	} {
		conf := sampleConfig(t, tt.typ, tt.sample)
		err := stack.CheckConfig(conf)
		if err == nil {
			err = stack.TryConnectors(t.TempDir(), conf)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.typ, err, tt.want)
		}
	}
}

const connectorsHead = `# Connectors

A connector lets people of another identity provider log in. Each is an item of
` + "`oidc.connectors`" + ` in ` + "`config.yaml`" + `; ` + "`sigstack config check`" + ` finds unknown settings, files that are
missing and the like, and a start refuses them; servers are first asked then, or at a login.
Types and settings are Dex's; what is said of them here holds for the Dex that sigstack is
built with.

* ` + "`id`" + ` is part of every subject and never changes; ` + "`name`" + ` is what the login page offers.
* ` + "`redirectURI`" + ` may be left out everywhere: it is ` + "`URL/dex/callback`" + `, which is also what to
  register at the provider.
* Secrets are named by path, relative to the data directory or absolute. The file is its
  owner's alone (mode 0600, or the start is refused); one newline at its end is not part of
  the secret. Profile ` + "`serve`" + ` takes no secret inside ` + "`config.yaml`" + `: that file is shown to
  colleagues, kept in version control and sent to who helps. Profile ` + "`up`" + ` does, since nothing
  there is worth more care.
* Other files, such as ` + "`rootCA`" + `, are named in the same way.
* A provider that is down at the start is an error in the log, and asked again at each login.
* The identity in certificates is the e-mail address, and only if the provider calls it
  verified. Who can choose an address there freely can sign in another's name: limit the
  connector to people you know.

How people and machines log in is in [login.md](login.md).

<!-- Made from services/oidc/connectors by: go test ./internal/stack -run ConnectorsPage -update -->
`

// TestConnectorsPage: the page is what the samples say.
func TestConnectorsPage(t *testing.T) {
	page := connectorsHead
	for _, typ := range oidc.ConnectorTypes() {
		data, err := os.ReadFile(filepath.Join(samplesDir, typ+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		start := strings.Index(text, "\n- ") + 1
		prose := regexp.MustCompile(`(?m)^# ?`).ReplaceAllString(text[:start], "")
		page += fmt.Sprintf("\n## `%s`: %s\n```yaml\n%s```\n", typ, prose, text[start:])
	}
	const path = "../../docs/connectors.md"
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != page {
		t.Errorf("%s is not made from the samples (%v): run go test ./internal/stack -run ConnectorsPage -update", path, err)
	}
}
