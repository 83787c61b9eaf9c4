package issuerfile

import (
	"strings"

	"sigstack/services/ca/identity"
)

// key is a setting by its names in the two forms, which do not cross over.
type key struct{ yaml, json string }

// What the sections of a file may hold (contract: ca.md §10).
var (
	topKeys = []key{
		{"oidc-issuers", "OIDCIssuers"}, {"meta-issuers", "MetaIssuers"}, {"ci-issuer-metadata", "CIIssuerMetadata"},
	}
	issuerKeys = []key{
		{"issuer-url", "IssuerURL"},
		{"client-id", "ClientID"},
		{"type", "Type"},
		{"ci-provider", "CIProvider"},
		{"issuer-claim", "IssuerClaim"},
		{"subject-domain", "SubjectDomain"},
		{"spiffe-trust-domain", "SPIFFETrustDomain"},
		{"challenge-claim", "ChallengeClaim"},
		{"ca-cert", "CACert"},
		{"skip-email-verification", "SkipEmailVerification"},
		{"description", "Description"},
		{"contact", "Contact"},
		{"environment", "Environment"},
	}
	providerKeys = []key{
		{"default-template-values", "DefaultTemplateValues"},
		{"extension-templates", "ExtensionTemplates"},
		{"subject-alternative-name-template", "SubjectAlternativeNameTemplate"},
	}
)

// anchors is where upstream's own file keeps what its aliases stand for; it means
// nothing by itself.
const anchors = "define"

func templateKeys() []key {
	var out []key
	for _, k := range identity.TemplateKeys() {
		out = append(out, key{k.YAML, k.JSON})
	}
	return out
}

// canonical returns the YAML name of what a file calls name, "" for what is not
// known. JSON names are matched as Go does, whatever their case.
func (r *reader) canonical(keys []key, name string) string {
	for _, k := range keys {
		if !r.json && k.yaml == name || r.json && strings.EqualFold(k.json, name) {
			return k.yaml
		}
	}
	return ""
}

// crossed returns what a name of the other form is called in this one, "" for what
// is none.
func (r *reader) crossed(keys []key, name string) string {
	for _, k := range keys {
		switch {
		case r.json && k.yaml == name:
			return k.json
		case !r.json && strings.EqualFold(k.json, name):
			return k.yaml
		}
	}
	return ""
}

// name returns what this form calls a setting.
func (r *reader) name(keys []key, yaml string) string {
	for _, k := range keys {
		if k.yaml == yaml && r.json {
			return k.json
		}
	}
	return yaml
}
