// Package identity turns the verified claims of an ID token into a principal:
// the name and the extensions a certificate will carry, and the text that proves
// possession of a key (contract: ca.md §5 and §6). Verifying tokens is left to the
// package token.
package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity/jsonpath"
)

// Type says what an issuer's tokens mean; its value is the name used in
// configuration and in the configuration endpoint.
type Type string

// The types of issuers (contract: ca.md §5). A further one is a case in
// providerOf.
const (
	Email              Type = "email"
	URI                Type = "uri"
	Username           Type = "username"
	SPIFFE             Type = "spiffe"
	Kubernetes         Type = "kubernetes"
	GitHubWorkflow     Type = "github-workflow"
	GitLabPipeline     Type = "gitlab-pipeline"
	BuildkiteJob       Type = "buildkite-job"
	CodefreshWorkflow  Type = "codefresh-workflow"
	ChainguardIdentity Type = "chainguard-identity"
	CIProviderType     Type = "ci-provider"
)

// Issuer is one source of tokens that the authority trusts.
type Issuer struct {
	// URL is compared with the token's `iss` byte for byte. With `*` in it, it is
	// a pattern in which each `*` stands for one or more of [-_a-zA-Z0-9].
	URL string
	// ClientID must be among the token's audiences. Never empty.
	ClientID string
	Type     Type
	// SubjectDomain is what every subject of a uri issuer begins with, scheme and
	// host name, such as "https://example.com"; for a username issuer it is the host
	// name that follows the name, such as "example.com". Empty for other types.
	SubjectDomain string
	// SkipEmailVerification accepts an email whose email_verified claim is not
	// true. Only for type email.
	SkipEmailVerification bool
	// SPIFFETrustDomain is the domain of every subject of a spiffe issuer. Empty for
	// other types.
	SPIFFETrustDomain string
	// CIProvider makes names and extensions of a ci-provider issuer's claims. Nil for
	// other types.
	CIProvider *CIProvider
	// IssuerClaim is the path of the claim that names the issuer in certificates, in
	// place of `iss`. Only for type email.
	IssuerClaim string
	// AdvertisedChallenge replaces the type's challenge claim where the issuer is
	// described; what is verified stays the type's (contract: ca.md §4).
	AdvertisedChallenge string
	// Keys is the issuer's key set as JSON (RFC 7517 §5). With it the issuer is never
	// asked: its public URL is backed by keys that this authority's operator chose.
	Keys []byte
	// DiscoveryURL is asked for the discovery document in place of URL, which the
	// document must name, and for the keys. Empty: URL itself. Never with Keys.
	DiscoveryURL string
	// BearerTokenFile holds the token that the issuer asks for before it shows its
	// keys; it is read each time. Empty: none is asked for. It is sent to URL's own
	// host alone, by TLS, and never to one that a pattern matched.
	BearerTokenFile string
	// Policy refuses verified claims, with fault.Invalid; nil refuses none.
	Policy func(Claims) error
	// Lifetime is that of certificates; 0 for the ten minutes that are also the most.
	Lifetime time.Duration
	// RootCAs are trusted for the issuer's own TLS, beside the system's.
	RootCAs []*x509.Certificate
	// HTTPClient reaches the issuer's discovery document and keys; nil for a
	// hardened default. Time limit and redirect policy are set on a copy of it.
	HTTPClient *http.Client
}

// MaxLifetime is the longest life of a certificate (contract: ca.md §7).
const MaxLifetime = 10 * time.Minute

// Principal is who a token speaks for.
type Principal struct {
	// Name becomes the certificate's only subject alternative name.
	Name Name
	// Challenges are the texts whose signature proves possession of a key, the
	// one of the issuer's type first (contract: ca.md §4). None is empty.
	Challenges []string
	// Attributes become certificate extensions, in ascending order.
	Attributes []Attribute
}

// provider is what a type of issuer contributes.
type provider struct {
	challengeClaim string
	check          func(Issuer) error // beyond what every issuer needs
	principal      func(Issuer, Claims) (Principal, error)
}

func providerOf(t Type) (provider, error) {
	switch t {
	case Email:
		return provider{"email", checkIssuerClaim, emailPrincipal}, nil
	case URI:
		return provider{"sub", checkURI, uriPrincipal}, nil
	case Username:
		return provider{"sub", checkUsername, usernamePrincipal}, nil
	case SPIFFE:
		return provider{"sub", checkSPIFFE, spiffePrincipal}, nil
	case Kubernetes:
		return provider{"sub", checkNothing, kubernetesPrincipal}, nil
	case GitHubWorkflow:
		return provider{"sub", checkNothing, githubPrincipal}, nil
	case GitLabPipeline:
		return provider{"sub", checkNothing, gitlabPrincipal}, nil
	case BuildkiteJob:
		return provider{"sub", checkNothing, buildkitePrincipal}, nil
	case CodefreshWorkflow:
		return provider{"sub", checkNothing, codefreshPrincipal}, nil
	case ChainguardIdentity:
		return provider{"sub", checkNothing, chainguardPrincipal}, nil
	case CIProviderType:
		return provider{"sub", checkCIProvider, ciPrincipal}, nil
	default:
		return provider{}, fmt.Errorf("issuer type %q is not supported; supported are %s", t, supported())
	}
}

func supported() string {
	names := []string{
		string(Email), string(URI), string(Username), string(SPIFFE), string(Kubernetes), string(GitHubWorkflow),
		string(GitLabPipeline), string(BuildkiteJob), string(CodefreshWorkflow), string(ChainguardIdentity),
	}
	return strings.Join(names, ", ") + " and " + string(CIProviderType)
}

// Check reports what is wrong with the issuer's configuration, without network.
func (i Issuer) Check() error {
	if err := i.check(); err != nil {
		return fmt.Errorf("issuer %q: %w", i.URL, err)
	}
	return nil
}

func (i Issuer) check() error {
	p, err := providerOf(i.Type)
	if err != nil {
		return err
	}
	switch {
	case i.ClientID == "":
		return errors.New("client id is empty")
	case i.Lifetime < 0 || i.Lifetime > MaxLifetime || i.Lifetime%time.Second != 0:
		return fmt.Errorf("lifetime %s is not one of whole seconds up to %s", i.Lifetime, MaxLifetime)
	case i.HTTPClient != nil && len(i.RootCAs) != 0:
		return errors.New("an HTTP client of its own brings its own root certificates")
	}
	if err := i.checkURL(); err != nil {
		return err
	}
	if err := i.checkUnused(); err != nil {
		return err
	}
	if err := i.checkBacking(); err != nil {
		return err
	}
	return p.check(i)
}

// checkUnused refuses settings of other types: whoever wrote them expects an
// effect.
func (i Issuer) checkUnused() error {
	settings := []struct {
		name string
		set  bool
		of   []Type
	}{
		{"skipping email verification", i.SkipEmailVerification, []Type{Email}},
		{"issuer claim", i.IssuerClaim != "", []Type{Email}},
		{"subject domain", i.SubjectDomain != "", []Type{URI, Username}},
		{"SPIFFE trust domain", i.SPIFFETrustDomain != "", []Type{SPIFFE}},
		{"ci provider", i.CIProvider != nil, []Type{CIProviderType}},
	}
	for _, s := range settings {
		if s.set && !slices.Contains(s.of, i.Type) {
			return fmt.Errorf("%s means nothing for type %s", s.name, i.Type)
		}
	}
	return nil
}

func checkNothing(Issuer) error { return nil }

func checkIssuerClaim(i Issuer) error {
	if i.IssuerClaim == "" {
		return nil
	}
	if _, err := jsonpath.Parse(i.IssuerClaim); err != nil {
		return fmt.Errorf("issuer claim: %w", err)
	}
	return nil
}

// checkURL refuses plain HTTP beyond this machine: whoever answers discovery
// decides which tokens are good.
func (i Issuer) checkURL() error {
	u, err := i.parsed()
	switch {
	case err != nil:
		return fmt.Errorf("parse URL: %w", err)
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return errors.New("URL is not an absolute http or https URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("URL has user, query or fragment")
	case u.Scheme == "http" && i.HTTPClient == nil && i.Keys == nil && i.DiscoveryURL == "" && !loopback(u.Hostname()):
		return errors.New("URL is plain http and not on the loopback interface")
	}
	return nil
}

// checkBacking refuses what would mix up who says which keys are the issuer's.
func (i Issuer) checkBacking() error {
	switch {
	case i.Keys != nil && (i.DiscoveryURL != "" || i.BearerTokenFile != "" || i.HTTPClient != nil):
		return errors.New("an issuer with keys of its own is not asked, and needs no way to be asked")
	case i.LocallyBacked() && i.Wildcard():
		return errors.New("a pattern stands for many issuers, and has no keys or discovery URL of its own")
	case i.BearerTokenFile != "" && (i.Wildcard() || i.DiscoveryURL != ""):
		return errors.New("a bearer token is for one issuer's own host alone, not for a pattern or a discovery URL")
	case i.DiscoveryURL == "":
		return nil
	}
	if err := (Issuer{URL: i.DiscoveryURL}).checkURL(); err != nil {
		return fmt.Errorf("discovery URL %q: %w", i.DiscoveryURL, err)
	}
	return nil
}

// LocallyBacked reports whether this authority's operator, and not the issuer that
// URL names, says which tokens are its.
func (i Issuer) LocallyBacked() bool { return i.Keys != nil || i.DiscoveryURL != "" }

// parsed parses the URL with every `*` replaced by a letter.
func (i Issuer) parsed() (*url.URL, error) {
	return url.Parse(strings.ReplaceAll(i.URL, "*", "x"))
}

// Wildcard reports whether URL is a pattern.
func (i Issuer) Wildcard() bool { return strings.Contains(i.URL, "*") }

// ChallengeClaim names the claim that clients are told to sign as proof of
// possession. It is "" for a type that Check refuses.
func (i Issuer) ChallengeClaim() string {
	if i.AdvertisedChallenge != "" {
		return i.AdvertisedChallenge
	}
	p, err := providerOf(i.Type)
	if err != nil {
		return ""
	}
	return p.challengeClaim
}

// Principal maps verified claims. Its errors are fault.Invalid, and their public
// sentence names claims but never repeats their values.
func (i Issuer) Principal(c Claims) (Principal, error) {
	p, err := providerOf(i.Type)
	if err != nil {
		return Principal{}, err
	}
	who, err := p.principal(i, c)
	if err != nil {
		return Principal{}, err
	}
	if i.Type != Email {
		// Several clients sign the email whenever there is one, whatever the
		// issuer's type (contract: ca.md §4, extension).
		if address, ok := verifiedEmail(c); ok && !slices.Contains(who.Challenges, address) {
			who.Challenges = append(who.Challenges, address)
		}
	}
	issuer, err := i.certified(c)
	if err != nil {
		return Principal{}, err
	}
	who.Attributes = append(who.Attributes, issuerAttributes(issuer, c.Subject)...)
	if err := who.check(); err != nil {
		return Principal{}, err
	}
	return who, nil
}

// certified returns the issuer that certificates name: `iss`, or what stands in
// the issuer claim.
func (i Issuer) certified(c Claims) (string, error) {
	if i.IssuerClaim == "" {
		return c.Issuer, nil
	}
	path, err := jsonpath.Parse(i.IssuerClaim)
	if err != nil {
		return "", fmt.Errorf("issuer claim: %w", err)
	}
	text, ok, err := c.at(path)
	if err == nil && (!ok || text == "") {
		err = fault.Newf(fault.Invalid, "claim %s, which names the issuer, is missing", i.IssuerClaim)
	}
	return text, err
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
