package issuerfile_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/services/ca/identity"
	"sigstack/services/ca/issuerfile"
	"sigstack/services/ca/token"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// line is what matters of an issuer, in words.
func line(i identity.Issuer) string {
	text := fmt.Sprintf("%s %s %s", i.URL, i.ClientID, i.Type)
	if i.CIProvider != nil {
		text += " by " + i.CIProvider.Name()
	}
	return strings.TrimSpace(strings.Join([]string{text, i.IssuerClaim, i.SubjectDomain, i.SPIFFETrustDomain, i.AdvertisedChallenge}, " ")) +
		map[bool]string{true: " skips"}[i.SkipEmailVerification]
}

// TestBothForms: one content, two forms, the same issuers.
func TestBothForms(t *testing.T) {
	want := []string{
		"https://accounts.corp.example sigstore email",
		"https://login.corp.example/dex sigstore email $.federated_claims.connector_id   email skips",
		"https://ci.corp.example sigstore ci-provider by github-workflow",
		"https://rounds.corp.example sigstore ci-provider by circle-like",
		"https://old-ci.corp.example other gitlab-pipeline",
		"https://spiffe.corp.example sigstore spiffe   corp.example",
		"https://sites.corp.example sigstore uri  https://www.corp.example",
		"https://names.corp.example sigstore username  corp.example",
		"https://kubernetes.default.svc sigstore kubernetes",
		"https://oidc.eks.*.amazonaws.com/id/* sigstore kubernetes",
		"https://ci.corp.example/* sigstore ci-provider by github-workflow",
	}
	for _, name := range []string{"issuers.yaml", "issuers.json"} {
		issuers, err := issuerfile.Parse(read(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, i := range issuers {
			got = append(got, line(i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got\n%q, want\n%q", name, got, want)
		}
	}
}

func authority(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "login CA"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestAuthority(t *testing.T) {
	entry := map[string]any{"IssuerURL": "https://a.example", "ClientID": "c", "Type": "email", "CACert": authority(t)}
	data, err := json.Marshal(map[string]any{"OIDCIssuers": map[string]any{"https://a.example": entry}})
	if err != nil {
		t.Fatal(err)
	}
	issuers, err := issuerfile.Parse(data)
	if err != nil || len(issuers) != 1 || len(issuers[0].RootCAs) != 1 || issuers[0].RootCAs[0].Subject.CommonName != "login CA" {
		t.Errorf("got %v and %v, want one issuer with its authority", issuers, err)
	}
}

func TestMerge(t *testing.T) {
	issuers, err := issuerfile.Parse([]byte(`
define:
  - &common {client-id: c, type: email, contact: us}
oidc-issuers:
  https://a.example: {<<: *common, issuer-url: "https://a.example", client-id: mine}
  https://b.example:
    <<: [*common]
    issuer-url: https://b.example
`))
	if err != nil || len(issuers) != 2 || issuers[0].ClientID != "mine" || issuers[1].ClientID != "c" {
		t.Errorf("got %v and %v, want two issuers, of clients mine and c", issuers, err)
	}
}

// entry is a YAML file with one issuer of these settings.
func entry(settings string) string {
	return "oidc-issuers:\n  https://a.corp.example: {issuer-url: https://a.corp.example, client-id: c, " + settings + "}\n"
}

func meta(settings string) string {
	return "meta-issuers:\n  https://*.corp.example: {client-id: c, " + settings + "}\n"
}

// TestRefusals: those of the contract's §10, and what is stricter here.
func TestRefusals(t *testing.T) {
	const provider = "ci-issuer-metadata:\n  p: {subject-alternative-name-template: a}\n"
	tests := []struct{ name, data, want string }{
		{"empty", "", "line 1: the file is empty"},
		{"only a comment", "# nothing\n", "line 1: the file is empty"},
		{"null", "null", "line 1: no issuer: want OIDCIssuers or MetaIssuers"},
		{"no issuers", "oidc-issuers: {}\n", "line 1: no issuer: want oidc-issuers or meta-issuers"},
		{"no issuers, JSON", `{"OIDCIssuers":{}}`, "line 1: no issuer: want OIDCIssuers or MetaIssuers"},
		{"neither form", "a: [", "line 1: neither JSON nor YAML"},
		{"odd line break", "a: b\u2028", "line 1: not text"},
		{"not UTF-8", "a: \xff", "line 1: not text"},
		{"list", "- a\n", "line 1: want settings"},
		{"two documents", entry("type: email") + "---\n" + entry("type: email"), "line 3: more than one"},
		{"JSON names in YAML", "OIDCIssuers: {}\n", "line 1: OIDCIssuers: not known: in YAML it is oidc-issuers"},
		{"YAML names in JSON", "{\"OIDCIssuers\": {\"https://a.example\": {\n\"issuer-url\": \"https://a.example\"}}}", "line 2: OIDCIssuers[https://a.example].issuer-url: not known: in JSON it is IssuerURL"},
		{"unknown section", entry("type: email") + "issuers: {}\n", "line 3: issuers: not known"},
		{"unknown key", entry("type: email, audience: x"), "line 2: oidc-issuers[https://a.corp.example].audience: not known"},
		{"unknown key of a provider", entry("type: email") + "ci-issuer-metadata:\n  p: {subject-alternative-name-template: a, x: y}\n", "line 4: ci-issuer-metadata.p.x: not known"},
		{"unknown extension", entry("type: email") + "ci-issuer-metadata:\n  p: {subject-alternative-name-template: a, extension-templates: {x: y}}\n", "extension-templates.x: not known"},
		{"given twice", "oidc-issuers: {}\noidc-issuers: {}\n", "line 2: oidc-issuers: given twice"},
		{"given twice in JSON", "{\"OIDCIssuers\":{},\n\"oidcissuers\":{}}", "line 2: oidcissuers: given twice"},
		{"number in JSON", `{"OIDCIssuers":{"https://a.example":{"ClientID":1}}}`, "ClientID: want text"},
		{"no flag", entry("type: email, skip-email-verification: 1"), "skip-email-verification: want true or false"},
		{"alias of itself", "oidc-issuers: &a\n  x: *a\n", "line 2: oidc-issuers.x.x: not known"},
		{"merge of itself", "oidc-issuers: &a\n  <<: *a\n", "is an alias within itself?"},

		{"another URL", strings.Replace(entry("type: email"), "issuer-url: https://a", "issuer-url: https://b", 1), "want the entry's own name"},
		{"no URL", strings.Replace(entry("type: email"), "issuer-url: https://a.corp.example, ", "", 1), "want the entry's own name"},
		{"URL of a pattern", meta("type: email, issuer-url: https://b"), "leave it out"},
		{"pattern among URLs", strings.ReplaceAll(entry("type: email"), "https://a.", "https://*."), "belongs into meta-issuers"},
		{"no client", strings.Replace(entry("type: email"), "client-id: c, ", "", 1), "client id is empty"},
		{"unknown type", entry("type: telepathy"), `issuer type "telepathy" is not supported`},
		{"no type", entry("contact: a"), `issuer type "" is not supported`},
		{"bad CA", entry("type: email, ca-cert: x"), "ca-cert: "},
		{"issuer claim of another type", entry("type: kubernetes, issuer-claim: $.a"), "issuer claim means nothing"},
		{"spiffe without domain", entry("type: spiffe"), "trust domain"},
		{"spiffe with a bad domain", entry("type: spiffe, spiffe-trust-domain: 'a b'"), "trust domain"},
		{"spiffe pattern", meta("type: spiffe, spiffe-trust-domain: a.example"), "pattern"},
		{"uri without domain", entry("type: uri"), "subject domain"},
		{"uri without scheme", entry("type: uri, subject-domain: corp.example"), "subject domain"},
		{"uri of another domain", entry("type: uri, subject-domain: https://evil.example"), "is not of the issuer's domain"},
		{"username without domain", entry("type: username"), "subject domain"},
		{"username with scheme", entry("type: username, subject-domain: https://corp.example"), "subject domain"},
		{"username of another domain", entry("type: username, subject-domain: evil.example"), "is not of the issuer's domain"},
		{"ci-provider without one", entry("type: ci-provider"), "ci provider"},
		{"unknown ci-provider", entry("type: ci-provider, ci-provider: q") + provider, `there is no "q" in ci-issuer-metadata`},
		{"template", entry("type: email") + "ci-issuer-metadata:\n  p: {subject-alternative-name-template: '{{ .a'}\n", "ci-issuer-metadata.p: subject alternative name"},
		{"extension template", entry("type: email") + "ci-issuer-metadata:\n  p: {subject-alternative-name-template: a, extension-templates: {build-trigger: '{{if}}'}}\n", "ci-issuer-metadata.p: extension build-trigger"},
		{"no template", entry("type: email") + "ci-issuer-metadata:\n  p: {}\n", "ci-issuer-metadata.p: subject alternative name"},
		{"plain http", strings.ReplaceAll(entry("type: email"), "https:", "http:"), "plain http"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			issuers, err := issuerfile.Parse([]byte(tt.data))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v and %v, want an error with %q", issuers, err, tt.want)
			}
		})
	}
}

// TestEveryProblem is said at once, in the order of lines.
func TestEveryProblem(t *testing.T) {
	_, err := issuerfile.Parse([]byte("oidc-issuers:\n  https://a.example: {type: x}\nodd: 1\nmeta-issuers:\n  https://*.example: {type: email}\n"))
	var invalid *issuerfile.Invalid
	if !errors.As(err, &invalid) {
		t.Fatalf("error = %v, want one of the file's problems", err)
	}
	var lines []int
	for _, p := range invalid.Problems {
		lines = append(lines, p.Line)
	}
	if want := []int{2, 3, 5}; !slices.Equal(lines, want) {
		t.Errorf("problems %v in lines %d, want %d", err, lines, want)
	}
}

// FuzzParse: what is accepted is good for a verifier, and means the same when read
// again; what is not names lines that the file has.
func FuzzParse(f *testing.F) {
	f.Add(read(f, "issuers.yaml"))
	f.Add(read(f, "issuers.json"))
	f.Add([]byte(entry("type: email")))
	f.Add([]byte(meta("type: kubernetes")))
	f.Add([]byte("a: &a [*a, *a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		issuers, err := issuerfile.Parse(data)
		var invalid *issuerfile.Invalid
		switch {
		case err == nil:
			if _, err := token.New(token.Config{Issuers: issuers, Now: time.Now, Log: slog.New(slog.DiscardHandler)}); err != nil {
				t.Errorf("accepted what no verifier takes: %v", err)
			}
			again, err := issuerfile.Parse(data)
			if err != nil || !slices.EqualFunc(issuers, again, func(a, b identity.Issuer) bool { return line(a) == line(b) }) {
				t.Errorf("read again: %v and %v, want %v", again, err, issuers)
			}
		case !errors.As(err, &invalid) || len(invalid.Problems) == 0:
			t.Errorf("error %v names no problem", err)
		default:
			for _, p := range invalid.Problems {
				if p.Line < 1 || p.Line > 1+bytes.Count(data, []byte("\n"))+bytes.Count(data, []byte("\r")) || p.Message == "" {
					t.Errorf("problem %q is in no line of the file", p)
				}
			}
		}
	})
}
