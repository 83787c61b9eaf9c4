package ca

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"testing"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"

	"sigstack/internal/pki"
	"sigstack/services/ca/identity"
)

// lintExceptions are zlint's errors that the contract asks for, by the profiles
// that have them: each one is there, or the test fails.
var lintExceptions = map[string]map[string]string{
	"root": {
		"e_ca_country_name_missing":     "the CA/Browser Forum's rules for TLS want a country in roots that are for anything; ours name CN and O (ca.md §7)",
		"e_cabf_ecc_allowed_key_usages": "the same rules want digitalSignature with every ECC key that is not restricted to one purpose; a CA's key usage is certSign and cRLSign (ca.md §7)",
	},
}

// everyAttribute is a value for each of Fulcio's extensions.
func everyAttribute() []identity.Attribute {
	var all []identity.Attribute
	for arc := 1; arc <= 24; arc++ {
		if arc != 7 { // the type of an otherName
			oid := append(slices.Clone(pki.OIDIssuerV1[:len(pki.OIDIssuerV1)-1]), arc)
			all = append(all, identity.Attribute{OID: oid, Value: fmt.Sprintf("https://value.example/%d", arc)})
		}
	}
	return all
}

// issueFor issues to who, as for a token that says so.
func (f *fixture) issueFor(t *testing.T, who identity.Principal, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	a := &Approval{by: f.service, state: f.service.state.Load(), who: who}
	if err := f.service.draft(a, key, 0); err != nil {
		t.Fatal(err)
	}
	der, err := f.service.Issue(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// profiles are certificates of every kind that the stack makes, those of one kind
// under one name.
func profiles(t *testing.T) map[string][]*x509.Certificate {
	t.Helper()
	all := map[string][]*x509.Certificate{}
	keys := []crypto.Signer{
		newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P384()), newECDSA(t, elliptic.P521()), newRSA(t, 2048), newRSA(t, 3072), newEd25519(t),
	}
	names := map[string]identity.Name{
		"leaf, email":     {Kind: identity.RFC822Name, Value: "alice@example.com"},
		"leaf, URI":       {Kind: identity.URIName, Value: "https://github.com/o/r/.github/workflows/a.yml@refs/heads/main"},
		"leaf, SPIFFE":    {Kind: identity.URIName, Value: "spiffe://example.com/workload"},
		"leaf, otherName": {Kind: identity.OtherName, Value: "alice!example.com"},
	}
	for _, caKey := range []crypto.Signer{keys[0], keys[1], keys[3]} {
		f := newFixture(t, func(f *fixture) {
			chain := newChainOf(t, f, caKey, x509.ExtKeyUsageCodeSigning)
			f.root, f.cfg.Chain, f.cfg.Signer = chain[1], chain, caKey
		})
		all["intermediate"] = append(all["intermediate"], f.cfg.Chain[0])
		all["root"] = append(all["root"], f.cfg.Chain[1])
		for kind, name := range names {
			for _, key := range keys {
				all[kind] = append(all[kind], f.issueFor(t, identity.Principal{Name: name, Attributes: everyAttribute()}, key.Public()))
			}
		}
		stamps := newChainOf(t, f, caKey, x509.ExtKeyUsageTimeStamping)
		leaf, err := pki.NewTimestampLeaf(stamps[0], caKey, keys[0].Public(), nameOf("tsa"), f.now)
		if err != nil {
			t.Fatal(err)
		}
		all["timestamp intermediate"] = append(all["timestamp intermediate"], stamps[0])
		all["timestamp leaf"] = append(all["timestamp leaf"], leaf)
	}
	return all
}

func nameOf(cn string) pkix.Name {
	return pkix.Name{CommonName: cn, Organization: []string{"sigstack.example"}}
}

// newChainOf is a chain of the product's own profiles, one key for both.
func newChainOf(t *testing.T, f *fixture, key crypto.Signer, usage x509.ExtKeyUsage) []*x509.Certificate {
	t.Helper()
	root, err := pki.NewRoot(key, nameOf("root"), f.now)
	if err != nil {
		t.Fatal(err)
	}
	inter, err := pki.NewIntermediate(root, key, key.Public(), nameOf("intermediate"), usage, f.now)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{inter, root}
}

// TestLint: zlint finds nothing wrong with any profile, but for what the contract
// asks for.
func TestLint(t *testing.T) {
	all := profiles(t)
	for kind := range lintExceptions {
		if len(all[kind]) == 0 {
			t.Errorf("there is no profile %q", kind)
		}
	}
	for kind, certs := range all {
		found := map[string]bool{}
		for _, c := range certs {
			for name, details := range lintErrors(t, c) {
				found[name] = true
				if _, ok := lintExceptions[kind][name]; !ok {
					t.Errorf("%s with a key of %v by %v: %s: %s", kind, c.PublicKeyAlgorithm, c.SignatureAlgorithm, name, details)
				}
			}
		}
		for name := range lintExceptions[kind] {
			if !found[name] {
				t.Errorf("%s: the exception for %s is not needed", kind, name)
			}
		}
	}
}

// lintErrors returns details by the lint's name.
func lintErrors(t *testing.T, c *x509.Certificate) map[string]string {
	t.Helper()
	parsed, err := zx509.ParseCertificate(c.Raw)
	if err != nil {
		t.Fatal(err)
	}
	errs := map[string]string{}
	for name, result := range zlint.LintCertificate(parsed).Results {
		if result.Status >= lint.Error {
			errs[name] = result.Details
		}
	}
	return errs
}

// TestLintFinds: a certificate that is wrong is found to be.
func TestLintFinds(t *testing.T) {
	f := newFixture(t, nil)
	key := newECDSA(t, elliptic.P256())
	wrong := certify(t, f.now, nil, key, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0xff}}} // not critical
	})
	if errs := lintErrors(t, wrong.cert); errs["e_basic_constraints_not_critical"] == "" {
		t.Errorf("zlint finds %v, want e_basic_constraints_not_critical among it", errs)
	}
}
