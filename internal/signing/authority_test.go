package signing_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"sigstack/internal/pki"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

const employee = "ann@corp.example"

// corp is an organisation's own authority, and somebody whom it certified.
type corp struct {
	ca        signingtest.Authority
	authority *signing.Authority
	key       *ecdsa.PrivateKey
	cert      *x509.Certificate
}

// newCorp makes one whose certificate for the employee change makes unlike others. It
// claims to be vouched for by a public issuer, and has no SCT.
func newCorp(t *testing.T, change func(*x509.Certificate)) corp {
	t.Helper()
	c := corp{ca: signingtest.NewCA(t, now().Add(-time.Hour))}
	var err error
	if c.authority, err = signing.ParseAuthority("chain.pem", pki.CertificatesPEM(c.ca.Chain)); err != nil {
		t.Fatal(err)
	}
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	by := &signingtest.Stack{Now: now, Keys: signingtest.Keys{CA: c.ca}}
	if c.cert, err = by.IssueAs(c.key.Public(), employee, "https://accounts.google.com", change); err != nil {
		t.Fatal(err)
	}
	return c
}

func unchanged(*x509.Certificate) {}

func (c corp) session(t *testing.T, s *signingtest.Stack) (*signing.Session, error) {
	t.Helper()
	return signing.NewSession(signing.SessionConfig{
		Kit: newKit(t, s), Key: c.key, Certificate: c.cert, Authority: c.authority, Now: now, Log: slog.New(slog.DiscardHandler),
	})
}

func (c corp) sign(t *testing.T, s *signingtest.Stack) *signing.Signed {
	t.Helper()
	session, err := c.session(t, s)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := session.Sign(t.Context(), strings.NewReader(artifact))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (c corp) identity(t *testing.T, subject, expression string, at func() time.Time) *signing.Identity {
	t.Helper()
	id, err := signing.NewCertificateIdentity(c.authority, subject, expression, at)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestUsersCertificate: what is signed with a certificate of the user's own verifies by
// the authority that is named, and by nothing else.
func TestUsersCertificate(t *testing.T) {
	s := signingtest.New(t, now)
	kit, c, other := newKit(t, s), newCorp(t, unchanged), newCorp(t, unchanged)
	signed := c.sign(t, s)
	if signed.Result.Identity != employee || signed.Result.Issuer != "" || signed.Result.IssuerBacking != "" {
		t.Errorf("signed as %q of issuer %q (%q), want %s and none", signed.Result.Identity, signed.Result.Issuer, signed.Result.IssuerBacking, employee)
	}
	if got, want := signed.Result.Authority, c.authority.String(); got != want || !strings.Contains(want, "fake CA") {
		t.Errorf("authority: got %q, want %q", got, want)
	}
	if len(signed.Chain) != 2 || signed.Bundle.Certificate() == nil {
		t.Errorf("got a chain of %d, certificate %v", len(signed.Chain), signed.Bundle.Certificate())
	}
	in := func(d time.Duration) func() time.Time { return func() time.Time { return now().Add(d) } }
	for _, tt := range []struct {
		name string
		id   *signing.Identity
		want signing.Check // empty: accepted
	}{
		{"exactly", c.identity(t, employee, "", now), ""},
		{"expression", c.identity(t, "", `.*@corp\.example`, now), ""},
		{"somebody else", c.identity(t, "mallory@corp.example", "", now), signing.CheckIdentity},
		{"expression that matches a part", c.identity(t, "", "ann@corp", now), signing.CheckIdentity},
		{"another authority of that name", other.identity(t, employee, "", now), signing.CheckCertificate},
		{"after its end", c.identity(t, employee, "", in(time.Hour)), signing.CheckCertificate},
		{"before its beginning", c.identity(t, employee, "", in(-30*time.Minute)), signing.CheckCertificate},
		{"by the trust root", identity(t, employee, "", "https://accounts.google.com", ""), signing.CheckCertificate},
		{"by the trust root, issuer of no name", identity(t, employee, "", "", ".*"), signing.CheckCertificate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, err := verify(t, artifact, signed.JSON, kit, tt.id)
			if tt.want != "" {
				wantRefused(t, err, tt.want)
				return
			}
			if err != nil || res.Authority != c.authority.String() {
				t.Errorf("got %v by %q", err, res.Authority)
			}
		})
	}
	// Nor does the authority vouch for what the trust root's own certified.
	_, err := verify(t, artifact, sign(t, s, artifact).JSON, kit, c.identity(t, signingtest.Email, "", now))
	wantRefused(t, err, signing.CheckCertificate)
	_, err = verify(t, artifact+"!", signed.JSON, kit, c.identity(t, employee, "", now))
	wantRefused(t, err, signing.CheckArtifact)
}

// TestUsersCertificateAttests: statements too, and by tag, which keeps the chain.
func TestUsersCertificateAttests(t *testing.T) {
	s := signingtest.New(t, now)
	kit, c := newKit(t, s), newCorp(t, unchanged)
	session, err := c.session(t, s)
	if err != nil {
		t.Fatal(err)
	}
	statement, err := signing.NewStatement([]signing.Subject{{Name: "x", Digest: map[string]string{"sha256": hexDigest(artifact)}}}, "https://example.com/t", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := session.SignStatement(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	id := c.identity(t, employee, "", now)
	if _, _, err := signing.VerifyStatement(digest(artifact), "sha256", signed.Bundle, kit.Trusted, id, ""); err != nil {
		t.Error(err)
	}
	message, err := session.Sign(t.Context(), strings.NewReader(artifact))
	if err != nil {
		t.Fatal(err)
	}
	byTag, err := signing.NewTagSignature(message, []byte(artifact))
	if err != nil {
		t.Fatal(err)
	}
	if want := string(pki.CertificatesPEM(c.ca.Chain)); string(byTag.Chain) != want {
		t.Errorf("the chain by tag is %q, want %q", byTag.Chain, want)
	}
}

// TestUsersCertificateRefused: what no verifier would accept signs nothing.
func TestUsersCertificateRefused(t *testing.T) {
	s := signingtest.New(t, now)
	good := newCorp(t, unchanged)
	with := func(change func(*corp)) corp {
		c := good
		change(&c)
		return c
	}
	issued := func(change func(*x509.Certificate)) corp { return newCorp(t, change) }
	for _, tt := range []struct {
		name string
		corp corp
		want string
	}{
		{"another key's", with(func(c *corp) { c.cert = newCorp(t, unchanged).cert }), "of another key"},
		{"another authority's", with(func(c *corp) { c.authority = newCorp(t, unchanged).authority }), "is not by CN=fake CA"},
		{"expired", issued(func(c *x509.Certificate) { c.NotAfter = now().Add(-time.Second) }), "not valid now"},
		{"not begun", issued(func(c *x509.Certificate) { c.NotBefore = now().Add(time.Minute) }), "not valid now"},
		{"not for code", issued(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "no code signing"},
		{"for nothing", issued(func(c *x509.Certificate) { c.KeyUsage = 0 }), "no digital signature"},
		{"an authority's", issued(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "it is an authority's"},
		{"of two", issued(func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "https", Host: "corp.example"}} }), "2 subject names"},
		{"of a host", issued(func(c *x509.Certificate) { c.EmailAddresses, c.DNSNames = nil, []string{"corp.example"} }), "names nobody"},
		{"without authority", with(func(c *corp) { c.authority = nil }), "goes with its authority"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := tt.corp.session(t, s); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if n := s.Calls("/api/v1/log/entries"); n > 0 {
		t.Errorf("%d entries were logged", n)
	}
}

// TestParseAuthority: a chain is in order, and whole.
func TestParseAuthority(t *testing.T) {
	ca, other := signingtest.NewCA(t, now()), signingtest.NewCA(t, now())
	leaf := newCorp(t, unchanged).cert
	middle, top := ca.Chain[0], ca.Chain[1]
	for _, tt := range []struct {
		name  string
		chain []*x509.Certificate
		want  string // empty: accepted
	}{
		{"whole", []*x509.Certificate{middle, top}, ""},
		{"root alone", []*x509.Certificate{top}, ""},
		{"none", nil, "chain.pem"},
		{"no root", []*x509.Certificate{middle}, "the last is no root"},
		{"root first", []*x509.Certificate{top, middle}, "want the issuer first"},
		{"of two authorities", []*x509.Certificate{middle, other.Chain[1]}, "is not signed by the next"},
		{"with the leaf", []*x509.Certificate{leaf, middle, top}, "is not an authority's"},
		{"too long", append(make11(middle), top), "at most"},
	} {
		a, err := signing.ParseAuthority("chain.pem", pki.CertificatesPEM(tt.chain))
		switch {
		case tt.want == "" && (err != nil || a == nil):
			t.Errorf("%s: got %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func make11(c *x509.Certificate) (chain []*x509.Certificate) {
	for range 11 {
		chain = append(chain, c)
	}
	return chain
}

// FuzzParseAuthority: what is accepted has a root that vouches for all of it.
func FuzzParseAuthority(f *testing.F) {
	ca := signingtest.NewCA(f, now())
	f.Add(pki.CertificatesPEM(ca.Chain))
	f.Add(pki.CertificatesPEM(ca.Chain[1:]))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := signing.ParseAuthority("chain.pem", data); err != nil {
			return
		}
		chain, err := pki.ParseCertificatesPEM(data)
		if err != nil || len(chain) == 0 {
			t.Fatalf("accepted, and holds %d certificates: %v", len(chain), err)
		}
		for i, c := range chain {
			if err := c.CheckSignatureFrom(chain[min(i+1, len(chain)-1)]); err != nil {
				t.Errorf("accepted, and certificate %d is not signed by the next: %v", i, err)
			}
		}
	})
}
