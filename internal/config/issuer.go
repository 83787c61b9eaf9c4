package config

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// IssuerSet is whose tokens are accepted: Issuers and those of IssuersFile, one of
// them at least.
type IssuerSet struct {
	// Issuers, each an OIDC issuer. One URL may be listed several times, with
	// another client id each: a token's audience then tells which one counts.
	Issuers []Issuer `yaml:"issuers,omitempty"`
	// IssuersFile holds further issuers in the form of Fulcio's own configuration,
	// YAML or JSON; a relative path is below the data directory.
	IssuersFile string `yaml:"issuers_file,omitempty"`
	// CIProviders say what the tokens of CI systems mean, by the name that
	// ci_provider of an issuer gives. Those of IssuersFile are its own.
	CIProviders map[string]CIProvider `yaml:"ci_providers,omitempty"`
}

// Issuer is an OIDC issuer that the CA trusts.
type Issuer struct {
	// URL exactly as in the tokens' "iss". With * in it, it is a pattern: each *
	// stands for one or more letters, digits, - and _.
	URL string `yaml:"url"`
	// ClientID that tokens must name as audience. Default: sigstore.
	ClientID string `yaml:"client_id"`
	// Type decides what becomes the certificate's identity: one of IssuerTypes.
	Type string `yaml:"type"`
	// CIProvider, for type ci-provider: which of ci_providers.
	CIProvider string `yaml:"ci_provider,omitempty"`
	// SubjectDomain, for type uri: scheme and host that subjects must share, such as
	// https://corp.example; for type username: the host that follows the name.
	SubjectDomain string `yaml:"subject_domain,omitempty"`
	// SPIFFETrustDomain, for type spiffe: the trust domain of all subjects, without
	// spiffe://.
	SPIFFETrustDomain string `yaml:"spiffe_trust_domain,omitempty"`
	// IssuerClaim, for type email: path of the claim that certificates name as the
	// issuer instead of "iss", such as $.federated_claims.connector_id.
	IssuerClaim string `yaml:"issuer_claim,omitempty"`
	// ChallengeClaim that clients are told to sign. Default: that of the type, which
	// is what is verified in any case.
	ChallengeClaim string `yaml:"challenge_claim,omitempty"`
	// SkipEmailVerification, for type email: accept an address that the token
	// does not call verified. The issuer must then hand out no other addresses.
	SkipEmailVerification bool `yaml:"skip_email_verification,omitempty"`
	// Lifetime of certificates, such as 5m: at least 1m. Default: 10m, the most.
	Lifetime string `yaml:"lifetime,omitempty"`
	// Policy are the rules that a token's claims must all pass. Default: none.
	Policy []PolicyRule `yaml:"policy,omitempty"`

	// CACert is a PEM file of authorities that are trusted, besides the system's,
	// for the issuer's own TLS; a relative path is below the data directory.
	CACert string `yaml:"ca_cert,omitempty"`
	// ServiceAccountToken, for type kubernetes: a file with the token to show to the
	// issuer when its keys are asked for, read anew each time. It is sent to the
	// issuer's own host alone.
	ServiceAccountToken string `yaml:"service_account_token,omitempty"`
	// Keys is a file with the issuer's key set (JWKS): the issuer is then asked for
	// nothing at all. A relative path is below the data directory.
	Keys string `yaml:"keys,omitempty"`
	// DiscoveryURL is asked in place of URL for the discovery document, which must
	// name URL as its issuer, and keys on the same host. CACert is then for its TLS.
	DiscoveryURL string `yaml:"discovery_url,omitempty"`
}

// PolicyRule is a condition that a token's claims must meet.
type PolicyRule struct {
	// Name of the rule in refusals, such as main-branch-only.
	Name string `yaml:"name"`
	// Expression in CEL over the claims, as docs/ca-policy.md describes. True lets
	// the token pass.
	Expression string `yaml:"expression"`
	// Message for whoever is refused. Default: the name.
	Message string `yaml:"message,omitempty"`
}

// CIProvider says what the tokens of a CI system mean (contract: ca.md §5).
type CIProvider struct {
	// DefaultTemplateValues are used where a token has no claim of that name.
	DefaultTemplateValues map[string]string `yaml:"default_template_values,omitempty"`
	// ExtensionTemplates has a template by extension, such as build-signer-uri: the
	// name of a claim or, with {{ in it, a Go template.
	ExtensionTemplates map[string]string `yaml:"extension_templates,omitempty"`
	// SubjectAlternativeNameTemplate gives the certificate's URI.
	SubjectAlternativeNameTemplate string `yaml:"subject_alternative_name_template"`
}

// IssuerTypes are the issuer types that this version knows.
var IssuerTypes = []string{
	"email", "uri", "username", "spiffe", "kubernetes", "github-workflow", "gitlab-pipeline",
	"buildkite-job", "codefresh-workflow", "chainguard-identity", "ci-provider",
}

// Equal reports whether two issuers have the same settings.
func (iss Issuer) Equal(other Issuer) bool {
	if len(iss.Policy) == 0 && len(other.Policy) == 0 {
		iss.Policy, other.Policy = nil, nil
	}
	return reflect.DeepEqual(iss, other)
}

// Wildcard reports whether URL is a pattern.
func (iss Issuer) Wildcard() bool { return strings.Contains(iss.URL, "*") }

// LocallyBacked reports whether somebody else than the issuer that URL names says
// which tokens are its: keys or discovery_url, which the operator chose.
func (iss Issuer) LocallyBacked() bool { return iss.Keys != "" || iss.DiscoveryURL != "" }

// CertificateLifetime returns Lifetime, 0 for the default.
func (iss Issuer) CertificateLifetime() (time.Duration, error) {
	if iss.Lifetime == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(iss.Lifetime)
	if err != nil || d < time.Minute || d > maxLifetime || d%time.Second != 0 {
		return 0, fmt.Errorf("%q is not a time of whole seconds from 1m to 10m, such as 5m", iss.Lifetime)
	}
	return d, nil
}

// maxLifetime is that of every certificate without a setting (contract: ca.md §7).
const maxLifetime = 10 * time.Minute

// Accepted is whose tokens this process accepts, and the section that says so.
func (c *Config) Accepted() (set IssuerSet, section string) {
	if c.CA != nil {
		return c.CA.IssuerSet, "ca"
	}
	return c.Access.IssuerSet, "access"
}

// TokenIssuers are those whose tokens this process accepts, besides those of
// issuers_file.
func (c *Config) TokenIssuers() []Issuer {
	set, _ := c.Accepted()
	return set.Issuers
}

// TokenIssuersField is where TokenIssuers are.
func (c *Config) TokenIssuersField() string {
	_, section := c.Accepted()
	return section + ".issuers"
}

func (s *IssuerSet) fillDefaults() {
	for i := range s.Issuers {
		if s.Issuers[i].ClientID == "" {
			s.Issuers[i].ClientID = "sigstore"
		}
	}
}

// empty reports whether nobody's tokens are accepted.
func (s *IssuerSet) empty() bool { return len(s.Issuers) == 0 && s.IssuersFile == "" }

func (s *IssuerSet) validateIn(p *problems, section string) {
	p.path(section+".issuers_file", s.IssuersFile)
	first := map[string]Issuer{}
	seen := map[[2]string]bool{}
	for i, iss := range s.Issuers {
		field := fmt.Sprintf("%s.issuers[%d]", section, i)
		iss.validate(p, field+".")
		_, known := s.CIProviders[iss.CIProvider]
		p.check(iss.CIProvider == "" || known, "%s.ci_provider: there is no %s.ci_providers.%s", field, section, iss.CIProvider)
		id := [2]string{iss.URL, iss.audience()}
		p.check(!seen[id], "%s.url: %s is listed twice with client_id %s: only another audience can tell them apart", field, iss.URL, iss.audience())
		seen[id] = true
		before, again := first[iss.URL]
		if !again {
			first[iss.URL] = iss
			continue
		}
		same := before.CACert == iss.CACert && before.Keys == iss.Keys && before.DiscoveryURL == iss.DiscoveryURL &&
			before.ServiceAccountToken == iss.ServiceAccountToken
		p.check(same, "%s: %s is listed before with another ca_cert, service_account_token, keys or discovery_url: one issuer has one key set", field, iss.URL)
	}
	for _, name := range slices.Sorted(maps.Keys(s.CIProviders)) {
		p.check(s.CIProviders[name].SubjectAlternativeNameTemplate != "",
			"%s.ci_providers.%s.subject_alternative_name_template: missing, a certificate needs a name", section, name)
	}
}

func (iss Issuer) audience() string {
	if iss.ClientID == "" {
		return "sigstore"
	}
	return iss.ClientID
}

// validateIssuers: the built-in issuer is asked within the process; what others
// answer must not be forged on the way.
func (c *Config) validateIssuers(p *problems) {
	for i, iss := range c.TokenIssuers() {
		field := fmt.Sprintf("%s[%d]", c.TokenIssuersField(), i)
		own := c.isOwn(iss)
		p.check(!own || iss.CACert == "", "%s.ca_cert: the built-in issuer is asked within the stack, leave it out", field)
		p.check(!own || iss.Keys == "", "%s.keys: the built-in issuer is asked within the stack, leave it out", field)
		p.check(!own || iss.DiscoveryURL == "", "%s.discovery_url: the built-in issuer is asked within the stack, leave it out", field)
		if iss.Keys != "" {
			continue // nothing is asked
		}
		asked, name := iss.URL, "url"
		if iss.DiscoveryURL != "" {
			asked, name = iss.DiscoveryURL, "discovery_url"
		}
		plain := strings.HasPrefix(asked, "http://") && !own && !local(asked)
		p.check(!plain || c.Profile == ProfileUp, "%s.%s: %q is plain http: whoever is on the way could sign in anybody's name; only profile up may have it", field, name, asked)
	}
}

// isOwn reports whether iss is the built-in issuer.
func (c *Config) isOwn(iss Issuer) bool {
	_, elsewhere := c.With("oidc")
	return (c.OIDC != nil || elsewhere) && iss.URL == c.IssuerURL()
}

// local reports whether a URL leads to this machine.
func local(rawURL string) bool {
	u, err := url.Parse(rawURL)
	return err == nil && isLoopbackHost(u.Hostname())
}

// Validate reports everything wrong with one issuer.
func (iss Issuer) Validate() error {
	var p problems
	iss.validate(&p, "")
	return p.join()
}

// validate names each field with prefix.
func (iss Issuer) validate(p *problems, prefix string) {
	p.check(isWebURL(strings.ReplaceAll(iss.URL, "*", "x")), "%surl: %q is not an http or https URL", prefix, iss.URL)
	p.check(slices.Contains(IssuerTypes, iss.Type), "%stype: %q, want one of %s", prefix, iss.Type, strings.Join(IssuerTypes, ", "))
	iss.validateType(p, prefix)
	iss.validatePolicy(p, prefix)
	iss.validateBacking(p, prefix)
	p.path(prefix+"ca_cert", iss.CACert)
	p.path(prefix+"keys", iss.Keys)
	p.path(prefix+"service_account_token", iss.ServiceAccountToken)
}

func isWebURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

var trustDomain = regexp.MustCompile(`^[a-z0-9._-]+$`)

func validTrustDomain(name string) bool { return len(name) <= 255 && trustDomain.MatchString(name) }

// validateType: each setting belongs to some types, and some types need it.
func (iss Issuer) validateType(p *problems, prefix string) {
	for _, f := range []struct {
		field string
		given bool
		types string // that it is for, between blanks
		need  bool
	}{
		{"subject_domain", iss.SubjectDomain != "", " uri username ", true},
		{"spiffe_trust_domain", iss.SPIFFETrustDomain != "", " spiffe ", true},
		{"ci_provider", iss.CIProvider != "", " ci-provider ", true},
		{"issuer_claim", iss.IssuerClaim != "", " email ", false},
		{"skip_email_verification", iss.SkipEmailVerification, " email ", false},
		{"service_account_token", iss.ServiceAccountToken != "", " kubernetes ", false},
	} {
		is := iss.Type != "" && strings.Contains(f.types, " "+iss.Type+" ")
		p.check(!is || f.given || !f.need, "%s%s: missing, type %s needs it", prefix, f.field, iss.Type)
		p.check(is || !f.given, "%s%s: only type %s has one", prefix, f.field, strings.Join(strings.Fields(f.types), " or "))
	}
	p.check(iss.SPIFFETrustDomain == "" || validTrustDomain(iss.SPIFFETrustDomain),
		"%sspiffe_trust_domain: %q is not a trust domain, such as corp.example", prefix, iss.SPIFFETrustDomain)
	p.check(iss.Type != "spiffe" || !iss.Wildcard(), "%surl: an issuer of type spiffe is no pattern: a trust domain has one issuer", prefix)
}

func (iss Issuer) validatePolicy(p *problems, prefix string) {
	_, err := iss.CertificateLifetime()
	p.err(prefix+"lifetime", err)
	names := map[string]bool{}
	for i, rule := range iss.Policy {
		field := fmt.Sprintf("%spolicy[%d]", prefix, i)
		p.check(rule.Name != "", "%s.name: missing, refusals name it", field)
		p.check(rule.Name == "" || !names[rule.Name], "%s.name: %q is taken", field, rule.Name)
		p.check(rule.Expression != "", "%s.expression: missing", field)
		names[rule.Name] = true
	}
}

// validateBacking checks where the issuer's keys come from.
func (iss Issuer) validateBacking(p *problems, prefix string) {
	for _, f := range []struct {
		field string
		given bool
	}{
		{"discovery_url", iss.DiscoveryURL != ""}, {"ca_cert", iss.CACert != ""}, {"service_account_token", iss.ServiceAccountToken != ""},
	} {
		p.check(iss.Keys == "" || !f.given, "%s%s: leave it out: with keys the issuer is not asked", prefix, f.field)
	}
	p.check(!iss.Wildcard() || iss.Keys == "", "%skeys: a pattern stands for many issuers, and one key set for one: name the issuer", prefix)
	p.check(!iss.Wildcard() || iss.DiscoveryURL == "", "%sdiscovery_url: a pattern stands for many issuers: name the one", prefix)
	p.check(!iss.Wildcard() || iss.ServiceAccountToken == "", "%sservice_account_token: is never shown to whom a pattern matches: name the issuer", prefix)
	p.check(iss.DiscoveryURL == "" || iss.ServiceAccountToken == "", "%sservice_account_token: goes to the issuer itself alone, and with discovery_url another is asked", prefix)
	p.check(iss.DiscoveryURL == "" || isWebURL(iss.DiscoveryURL), "%sdiscovery_url: %q is not an http or https URL", prefix, iss.DiscoveryURL)
}

// warnIssuers names what an operator trusts beyond what is usual.
func (c *Config) warnIssuers(w *problems) {
	for i, iss := range c.TokenIssuers() {
		field := fmt.Sprintf("%s[%d]", c.TokenIssuersField(), i)
		switch {
		case iss.Keys != "":
			w.add("%s.keys: locally backed: certificates will name %s, and whoever holds these keys speaks for it; everything that shows trust marks it", field, iss.URL)
		case iss.DiscoveryURL != "":
			w.add("%s.discovery_url: locally backed: certificates will name %s, and %s speaks for it; everything that shows trust marks it", field, iss.URL, iss.DiscoveryURL)
		}
		if c.Profile == ProfileUp {
			continue
		}
		if strings.HasPrefix(iss.URL, "http://") && !c.isOwn(iss) && local(iss.URL) && !iss.LocallyBacked() {
			w.add("%s.url: plain http: every user of this machine can pass for this issuer if it is down", field)
		}
		if iss.SkipEmailVerification {
			w.add("%s.skip_email_verification: whoever can choose an address at this issuer can sign in its name", field)
		}
	}
}
