package identity

import (
	"encoding/asn1"
	"fmt"
	"maps"
	"slices"

	"sigstack/internal/pki"
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
	name     string
	metadata CIMetadata
}

// NewCIProvider checks the metadata of the CI system called name, the syntax of
// its templates included.
func NewCIProvider(name string, m CIMetadata) (*CIProvider, error) {
	known := map[string]bool{}
	for _, key := range TemplateKeys() {
		known[key.YAML] = true
	}
	for _, key := range slices.Sorted(maps.Keys(m.ExtensionTemplates)) {
		if !known[key] {
			return nil, fmt.Errorf("ci provider %q: %q is not an extension", name, key)
		}
	}
	return &CIProvider{name, m}, nil
}

// Name returns what the CI system is called in configuration.
func (p *CIProvider) Name() string { return p.name }
