package identity_test

import (
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"

	"sigstack/services/ca/identity"
)

func user(domain string) func(*identity.Issuer) {
	return func(i *identity.Issuer) { i.Type, i.SubjectDomain = identity.Username, domain }
}

func spiffe(domain string) func(*identity.Issuer) {
	return func(i *identity.Issuer) {
		i.Type, i.SubjectDomain, i.SPIFFETrustDomain = identity.SPIFFE, "", domain
	}
}

func email(claim string) func(*identity.Issuer) {
	return func(i *identity.Issuer) { i.Type, i.SubjectDomain, i.IssuerClaim = identity.Email, "", claim }
}

func TestCheck(t *testing.T) {
	good := identity.Issuer{URL: "https://issuer.example.com", ClientID: "sigstore", Type: identity.URI, SubjectDomain: "https://example.com"}
	tests := []struct {
		name   string
		change func(*identity.Issuer)
		want   string // "" for accepted
	}{
		{"good", func(*identity.Issuer) {}, ""},
		{"loopback over http", func(i *identity.Issuer) { i.URL, i.SubjectDomain = "http://127.0.0.1:80/dex", "http://127.0.0.1" }, ""},
		{"own client over http", func(i *identity.Issuer) {
			i.URL, i.SubjectDomain, i.HTTPClient = "http://x.example.com", "http://example.com", &http.Client{}
		}, ""},
		{"pattern", func(i *identity.Issuer) { i.URL = "https://*.example.com/id/*" }, ""},
		{"no client id", func(i *identity.Issuer) { i.ClientID = "" }, "client id is empty"},
		{"unknown type", func(i *identity.Issuer) { i.Type = "saml" }, `issuer type "saml" is not supported; supported are email, uri, username, spiffe, kubernetes, github-workflow, gitlab-pipeline, buildkite-job, codefresh-workflow, chainguard-identity and ci-provider`},
		{"no type", func(i *identity.Issuer) { i.Type = "" }, "is not supported"},
		{"relative URL", func(i *identity.Issuer) { i.URL = "issuer" }, "not an absolute"},
		{"other scheme", func(i *identity.Issuer) { i.URL = "ftp://issuer.example.com" }, "not an absolute"},
		{"broken URL", func(i *identity.Issuer) { i.URL = "https://%" }, "parse URL"},
		{"query", func(i *identity.Issuer) { i.URL += "?a=b" }, "has user, query or fragment"},
		{"plain http", func(i *identity.Issuer) { i.URL = "http://issuer.example.com" }, "plain http"},
		{"two sources of roots", func(i *identity.Issuer) { i.HTTPClient, i.RootCAs = &http.Client{}, []*x509.Certificate{{}} }, "root certificates"},
		{"skip without email", func(i *identity.Issuer) { i.SkipEmailVerification = true }, "means nothing for type uri"},
		{"no subject domain", func(i *identity.Issuer) { i.SubjectDomain = "" }, "not a scheme and a host name"},
		{"subject domain without scheme", func(i *identity.Issuer) { i.SubjectDomain = "example.com" }, "not a scheme and a host name"},
		{"subject domain with path", func(i *identity.Issuer) { i.SubjectDomain = "https://example.com/a" }, "not a scheme and a host name"},
		{"another site", func(i *identity.Issuer) { i.SubjectDomain = "https://example.org" }, "not of the issuer's domain"},
		{"top level only", func(i *identity.Issuer) { i.SubjectDomain = "https://com" }, "not of the issuer's domain"},
		{"addresses alike", func(i *identity.Issuer) { i.URL, i.SubjectDomain = "https://10.0.0.1", "https://11.1.0.1" }, "not of the issuer's domain"},
		{"another scheme", func(i *identity.Issuer) { i.SubjectDomain = "http://example.com" }, "subject domain's scheme http is not the issuer's https"},
		{"pattern of any site", func(i *identity.Issuer) { i.URL, i.SubjectDomain = "https://*.com", "https://x.com" }, "not of the issuer's domain"},
		{"pattern of any top level", func(i *identity.Issuer) { i.URL = "https://a.example.*" }, "not of the issuer's domain"},
		{"username", user("example.com"), ""},
		{"username of a host below", user("users.example.com"), ""},
		{"username without domain", user(""), "is not a host name"},
		{"username with a scheme", user("https://example.com"), "is not a host name"},
		{"username with a port", user("example.com:80"), "is not a host name"},
		{"username with a path", user("example.com/a"), "is not a host name"},
		{"username with a mark", user("foo!x.example.com"), "is not a host name"},
		{"username not ASCII", user("exämple.com"), "is not a host name"},
		{"username of another site", user("example.org"), "not of the issuer's domain"},
		{"spiffe", spiffe("example.org"), ""},
		{"spiffe by an id", spiffe("spiffe://example.org/ns"), ""},
		{"spiffe without domain", spiffe(""), "trust domain is not one"},
		{"spiffe in capitals", spiffe("Example.org"), "trust domain is not one"},
		{"spiffe of another scheme", spiffe("https://example.org"), "trust domain is not one"},
		{"spiffe with an empty label", spiffe("example..org"), "trust domain is not one"},
		{"spiffe too long", spiffe(strings.Repeat("a", 256)), "trust domain is not one"},
		{"spiffe by a pattern", func(i *identity.Issuer) { spiffe("example.org")(i); i.URL = "https://*.example.com" }, "cannot share one SPIFFE trust domain"},
		{"trust domain for uri", func(i *identity.Issuer) { i.SPIFFETrustDomain = "example.org" }, "SPIFFE trust domain means nothing for type uri"},
		{"issuer claim", email("$.federated_claims.connector_id"), ""},
		{"issuer claim that is no path", email("connector_id"), "issuer claim: path does not begin with $"},
		{"issuer claim with a filter", email("$.a[?(@.b)]"), "not supported"},
		{"issuer claim for uri", func(i *identity.Issuer) { i.IssuerClaim = "$.a" }, "issuer claim means nothing for type uri"},
		{"ci-provider without one", func(i *identity.Issuer) { i.Type, i.SubjectDomain = identity.CIProviderType, "" }, "has no ci provider"},
		{"ci provider for uri", func(i *identity.Issuer) { i.CIProvider = &identity.CIProvider{} }, "ci provider means nothing for type uri"},
		{"shorter life", func(i *identity.Issuer) { i.Lifetime = time.Minute }, ""},
		{"longest life", func(i *identity.Issuer) { i.Lifetime = 10 * time.Minute }, ""},
		{"longer life", func(i *identity.Issuer) { i.Lifetime = 10*time.Minute + time.Second }, "lifetime 10m1s is not"},
		{"negative life", func(i *identity.Issuer) { i.Lifetime = -time.Second }, "lifetime -1s is not"},
		{"life of a fraction", func(i *identity.Issuer) { i.Lifetime = 1500 * time.Millisecond }, "lifetime 1.5s is not"},
		{"domain for email", func(i *identity.Issuer) { i.Type = identity.Email }, "subject domain means nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := good
			tt.change(&i)
			err := i.Check()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("error = %v, want none", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}
