package identity

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"sigstack/internal/fault"
	"sigstack/internal/pki"
	"sigstack/services/ca/identity/template"
)

// CIMetadata says how the tokens of a CI system become certificates, as written
// in an issuer file (contract: ca.md §5, ci-provider).
type CIMetadata struct {
	// DefaultTemplateValues are used where a token has no claim of that name.
	DefaultTemplateValues map[string]string
	// ExtensionTemplates has a template by key, one of TemplateKeys' YAML names.
	// A template is the name of a claim or, with `{{` in it, a Go template. Empty
	// ones, and those of issuer and subject, have no effect.
	ExtensionTemplates map[string]string
	// SubjectAlternativeNameTemplate gives the certificate's URI. Never empty.
	SubjectAlternativeNameTemplate string
}

// TemplateKey is one key of a CIMetadata's extension templates, by its names in
// upstream's two file formats (contract: ca.md §10).
type TemplateKey struct {
	YAML, JSON string
	oid        asn1.ObjectIdentifier // nil for a key that has no effect
}

// TemplateKeys returns all keys of extension templates.
func TemplateKeys() []TemplateKey {
	return []TemplateKey{
		{"issuer", "Issuer", nil},
		{"github-workflow-trigger", "GithubWorkflowTrigger", pki.OIDWorkflowTrigger},
		{"github-workflow-sha", "GithubWorkflowSHA", pki.OIDWorkflowSHA},
		{"github-workflow-name", "GithubWorkflowName", pki.OIDWorkflowName},
		{"github-workflow-repository", "GithubWorkflowRepository", pki.OIDWorkflowRepository},
		{"github-workflow-ref", "GithubWorkflowRef", pki.OIDWorkflowRef},
		{"build-signer-uri", "BuildSignerURI", pki.OIDBuildSignerURI},
		{"build-signer-digest", "BuildSignerDigest", pki.OIDBuildSignerDigest},
		{"runner-environment", "RunnerEnvironment", pki.OIDRunnerEnvironment},
		{"source-repository-uri", "SourceRepositoryURI", pki.OIDSourceRepositoryURI},
		{"source-repository-digest", "SourceRepositoryDigest", pki.OIDSourceRepositoryDigest},
		{"source-repository-ref", "SourceRepositoryRef", pki.OIDSourceRepositoryRef},
		{"source-repository-identifier", "SourceRepositoryIdentifier", pki.OIDSourceRepositoryID},
		{"source-repository-owner-uri", "SourceRepositoryOwnerURI", pki.OIDSourceRepositoryOwner},
		{"source-repository-owner-identifier", "SourceRepositoryOwnerIdentifier", pki.OIDSourceRepositoryOwnerID},
		{"build-config-uri", "BuildConfigURI", pki.OIDBuildConfigURI},
		{"build-config-digest", "BuildConfigDigest", pki.OIDBuildConfigDigest},
		{"build-trigger", "BuildTrigger", pki.OIDBuildTrigger},
		{"run-invocation-uri", "RunInvocationURI", pki.OIDRunInvocationURI},
		{"source-repository-visibility-at-signing", "SourceRepositoryVisibilityAtSigning", pki.OIDRepositoryVisibility},
		{"deployment-environment", "DeploymentEnvironment", pki.OIDDeploymentEnvironment},
		{"subject", "Subject", nil},
	}
}

// CIProvider is a checked CIMetadata. It is safe for concurrent use.
type CIProvider struct {
	name       string
	defaults   map[string]string
	san        *template.Template
	extensions []ciExtension
}

type ciExtension struct {
	key  string
	oid  asn1.ObjectIdentifier
	text *template.Template
}

// NewCIProvider checks the metadata of the CI system called name and compiles its
// templates.
func NewCIProvider(name string, m CIMetadata) (*CIProvider, error) {
	p := &CIProvider{name: name, defaults: maps.Clone(m.DefaultTemplateValues)}
	for key, value := range p.defaults {
		if err := checkText(key, value); err != nil {
			return nil, fmt.Errorf("ci provider %q: default value: %w", name, err)
		}
	}
	var err error
	// A name with a hole where a claim is missing would be another's.
	if p.san, err = template.Compile(m.SubjectAlternativeNameTemplate, true); err != nil {
		return nil, fmt.Errorf("ci provider %q: subject alternative name: %w", name, err)
	}
	if p.extensions, err = compileExtensions(m.ExtensionTemplates); err != nil {
		return nil, fmt.Errorf("ci provider %q: %w", name, err)
	}
	return p, nil
}

func compileExtensions(texts map[string]string) ([]ciExtension, error) {
	keys := TemplateKeys()
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if !slices.ContainsFunc(keys, func(k TemplateKey) bool { return k.YAML == name }) {
			return nil, fmt.Errorf("%q is not an extension", name)
		}
	}
	var extensions []ciExtension
	for _, key := range keys {
		text := texts[key.YAML]
		if strings.TrimSpace(text) == "" {
			continue
		}
		compiled, err := template.Compile(text, false)
		if err != nil {
			return nil, fmt.Errorf("extension %s: %w", key.YAML, err)
		}
		if key.oid != nil {
			extensions = append(extensions, ciExtension{key.YAML, key.oid, compiled})
		}
	}
	return extensions, nil
}

// Name returns what the CI system is called in configuration.
func (p *CIProvider) Name() string { return p.name }

func checkCIProvider(i Issuer) error {
	if i.CIProvider == nil {
		return errors.New("type ci-provider has no ci provider")
	}
	return nil
}

// ciPrincipal fills the templates of the issuer's CI system (contract: ca.md §5,
// ci-provider).
func ciPrincipal(i Issuer, c Claims) (Principal, error) {
	p := i.CIProvider
	name, err := p.apply(p.san, c)
	if err != nil {
		return Principal{}, fault.Wrap(fault.Invalid, err, "subject alternative name: "+fault.Public(err))
	}
	uri, err := url.Parse(name)
	if err != nil {
		return Principal{}, fault.Wrap(fault.Invalid, err, "subject alternative name: the token's claims do not make a URL")
	}
	who := Principal{Name: Name{URIName, uri.String()}, Challenges: []string{c.Subject}}
	for _, e := range p.extensions {
		value, err := p.extension(e, c)
		if err != nil {
			return Principal{}, fault.Wrap(fault.Invalid, err, "extension "+e.key+": "+fault.Public(err))
		}
		who.Attributes = append(who.Attributes, Attribute{e.oid, value})
	}
	return who, nil
}

func (p *CIProvider) extension(e ciExtension, c Claims) (string, error) {
	value, err := p.apply(e.text, c)
	switch {
	case err != nil:
		return "", err
	case strings.ContainsFunc(value, unicode.IsControl):
		return "", fault.New(fault.Invalid, "the template has a line break or another control character")
	case strings.HasSuffix(e.key, "-uri") && dotSegment(value):
		return "", fault.New(fault.Invalid, "the token's claims do not make a clean path")
	default:
		return value, nil
	}
}

// apply fills a template with claims and, where there are none, default values.
func (p *CIProvider) apply(t *template.Template, c Claims) (string, error) {
	return t.Apply(func(name string) (string, bool, error) {
		text, ok, err := c.scalar(name)
		if err == nil && !ok {
			text, ok = p.defaults[name]
		}
		return text, ok, err
	})
}
