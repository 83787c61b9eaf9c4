package signing_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
	"sigstack/internal/trust"
)

const github = "https://token.actions.githubusercontent.com"

// kitTelling is a kit of s on disk whose issuers.json has that text; "" for none.
func kitTelling(t *testing.T, s *signingtest.Stack, issuers string) (*signing.Kit, error) {
	t.Helper()
	trustedRoot, config := s.KitFiles(t)
	dir := t.TempDir()
	files := map[string][]byte{trust.TrustedRootName: trustedRoot, trust.SigningConfigName: config}
	if issuers != "" {
		files[trust.IssuersName] = []byte(issuers)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return signing.LoadKit(dir)
}

// TestIssuerBacking: a verdict says what its root's kit tells of the issuer.
func TestIssuerBacking(t *testing.T) {
	s := signingtest.New(t, now)
	text := sign(t, s, artifact).JSON
	quoted, err := json.Marshal(s.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, issuers string
		own, public   signing.IssuerBacking // of the stack's issuer, and of GitHub's
	}{
		{"no kit that tells", "", "", signing.BackingUnknown},
		{"none", `{"locally_backed":[]}`, "", ""},
		{"this one", `{"locally_backed":[` + string(quoted) + `]}`, signing.BackingLocal, ""},
		{"another", `{"locally_backed":["` + github + `"]}`, "", signing.BackingLocal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			kit, err := kitTelling(t, s, tt.issuers)
			if err != nil {
				t.Fatal(err)
			}
			got, err := verify(t, artifact, text, kit, demo(t, s))
			if err != nil || got.IssuerBacking != tt.own {
				t.Errorf("verdict %q and %v, want %q", got.IssuerBacking, err, tt.own)
			}
			if got := kit.Trusted.Backing(github); got != tt.public {
				t.Errorf("a public issuer: %q, want %q", got, tt.public)
			}
			if (got.IssuerBacking.Note() == "") != (tt.own == "") {
				t.Errorf("note %q of %q", got.IssuerBacking.Note(), tt.own)
			}
		})
	}
	if _, err := kitTelling(t, s, `{"backed":[]}`); err == nil || !strings.Contains(err.Error(), trust.IssuersName) {
		t.Errorf("error %v, want one that names the damaged file", err)
	}
}

// TestPublicRoot: the public Sigstore's own root speaks for public issuers; one that
// holds another authority beside it does not.
func TestPublicRoot(t *testing.T) {
	public, err := os.ReadFile("../../tools/conformance/testdata/public-good/trusted_root.json")
	if err != nil {
		t.Fatal(err)
	}
	private, _ := signingtest.New(t, now).KitFiles(t)
	merged := map[string]json.RawMessage{}
	var authorities []json.RawMessage
	if err := json.Unmarshal(public, &merged); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(merged["certificateAuthorities"], &authorities); err != nil {
		t.Fatal(err)
	}
	var mine struct {
		Authorities []json.RawMessage `json:"certificateAuthorities"`
	}
	if err := json.Unmarshal(private, &mine); err != nil {
		t.Fatal(err)
	}
	if merged["certificateAuthorities"], err = json.Marshal(append(authorities, mine.Authorities...)); err != nil {
		t.Fatal(err)
	}
	both, err := json.Marshal(merged)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		data []byte
		want signing.IssuerBacking
	}{"public": {public, ""}, "private": {private, signing.BackingUnknown}, "merged by hand": {both, signing.BackingUnknown}} {
		root, err := signing.NewTrustRoot(name, tt.data)
		if err != nil {
			t.Fatal(err)
		}
		for _, issuer := range []string{github, github + "/corp", "https://gitlab.com", "https://oidc.eks.eu-west-1.amazonaws.com/id/A"} {
			if got := root.Backing(issuer); got != tt.want {
				t.Errorf("%s root, %s: %q, want %q", name, issuer, got, tt.want)
			}
		}
		for _, issuer := range []string{"", "https://login.corp.example", github + ".evil.example"} {
			if got := root.Backing(issuer); got != "" {
				t.Errorf("%s root, %s: %q, want nothing to say", name, issuer, got)
			}
		}
	}
}
