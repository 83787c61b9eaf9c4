package issuerfile

import (
	"fmt"
	"strconv"
	"strings"

	"sigstack/services/ca/identity"
)

// reader walks a document and gathers every problem with its line.
type reader struct {
	json     bool
	problems []Problem
	values   int // read so far
	depth    int // of the one being read
}

// maxProblems bounds what is said of one file.
const maxProblems = 100

func (r *reader) add(at *node, field, format string, args ...any) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, Problem{at.Line, field, fmt.Sprintf(format, args...)})
	}
}

func (r *reader) file(root *node) *file {
	f := &file{providers: map[string]*identity.CIProvider{}}
	known := topKeys
	if !r.json {
		known = append(known[:len(known):len(known)], key{anchors, ""})
	}
	sections := r.section(root, "", known)
	for _, e := range r.entries(sections["oidc-issuers"], r.name(topKeys, "oidc-issuers")) {
		f.exact = append(f.exact, r.issuer(e))
	}
	for _, e := range r.entries(sections["meta-issuers"], r.name(topKeys, "meta-issuers")) {
		f.patterns = append(f.patterns, r.issuer(e))
	}
	for _, e := range r.entries(sections["ci-issuer-metadata"], r.name(topKeys, "ci-issuer-metadata")) {
		f.providers[e.name] = r.provider(e)
	}
	return f
}

func (r *reader) issuer(e entry) issuer {
	values := r.section(e.value, e.field, issuerKeys)
	text := func(name string) string { return r.text(values[name], join(e.field, r.name(issuerKeys, name))) }
	for _, name := range []string{"description", "contact", "environment"} {
		text(name)
	}
	return issuer{
		Issuer: identity.Issuer{
			URL: e.name, ClientID: text("client-id"), Type: identity.Type(text("type")),
			IssuerClaim: text("issuer-claim"), SubjectDomain: text("subject-domain"), SPIFFETrustDomain: text("spiffe-trust-domain"),
			AdvertisedChallenge:   text("challenge-claim"),
			SkipEmailVerification: r.flag(values["skip-email-verification"], join(e.field, r.name(issuerKeys, "skip-email-verification"))),
		},
		at: e.key, field: e.field, url: text("issuer-url"), provider: text("ci-provider"), caCert: text("ca-cert"),
	}
}

// provider returns nil for one with a problem.
func (r *reader) provider(e entry) *identity.CIProvider {
	before := len(r.problems)
	values := r.section(e.value, e.field, providerKeys)
	field := func(name string) string { return join(e.field, r.name(providerKeys, name)) }
	m := identity.CIMetadata{
		DefaultTemplateValues: map[string]string{}, ExtensionTemplates: map[string]string{},
		SubjectAlternativeNameTemplate: r.text(values["subject-alternative-name-template"], field("subject-alternative-name-template")),
	}
	for _, v := range r.entries(values["default-template-values"], field("default-template-values")) {
		m.DefaultTemplateValues[v.name] = r.text(v.value, v.field)
	}
	templates := field("extension-templates")
	for name, value := range r.section(values["extension-templates"], templates, templateKeys()) {
		m.ExtensionTemplates[name] = r.text(value, join(templates, r.name(templateKeys(), name)))
	}
	if len(r.problems) > before {
		return nil
	}
	p, err := identity.NewCIProvider(e.name, m)
	if err != nil {
		r.add(e.key, e.field, "%s", strings.TrimPrefix(err.Error(), fmt.Sprintf("ci provider %q: ", e.name)))
		return nil
	}
	return p
}

// section returns the settings of n by their YAML names. One that is not among
// known is a problem; nil has none.
func (r *reader) section(n *node, field string, known []key) map[string]*node {
	out := map[string]*node{}
	for _, e := range r.entries(n, field) {
		name := r.canonical(known, e.name)
		at := join(field, e.name)
		switch other := r.crossed(known, e.name); {
		case name != "" && out[name] != nil:
			r.add(e.key, at, "given twice")
		case name != "":
			out[name] = e.value
		case other != "" && r.json:
			r.add(e.key, at, "not known: in JSON it is %s", other)
		case other != "":
			r.add(e.key, at, "not known: in YAML it is %s", other)
		default:
			r.add(e.key, at, "not known")
		}
	}
	return out
}

// text returns a value that is text, "" for none.
func (r *reader) text(n *node, field string) string {
	if n = r.resolve(n); n == nil || n.null() {
		return ""
	}
	if n.Kind != scalar || r.json && n.ShortTag() != "!!str" {
		r.add(n, field, "want text")
		return ""
	}
	return n.Value
}

func (r *reader) flag(n *node, field string) bool {
	if n = r.resolve(n); n == nil || n.null() {
		return false
	}
	if n.Kind != scalar || n.ShortTag() != "!!bool" {
		r.add(n, field, "want true or false")
		return false
	}
	yes, _ := strconv.ParseBool(strings.ToLower(n.Value)) // YAML's bools are Go's
	return yes
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}
