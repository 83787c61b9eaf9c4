// Package issuerfile reads Fulcio's own configuration of token issuers, YAML or
// JSON (contract: ca.md §10). It is stricter: a key that is not known, and a file
// without an issuer, are errors. Files, and what tokens mean, are left to others.
package issuerfile

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sigstack/internal/pki"
	"sigstack/services/ca/identity"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	Line    int    // from 1
	Field   string // such as oidc-issuers[https://issuer.example].type; empty: the file
	Message string
}

// String returns "line N: field: message".
func (p Problem) String() string {
	if p.Field == "" {
		return fmt.Sprintf("line %d: %s", p.Line, p.Message)
	}
	return fmt.Sprintf("line %d: %s: %s", p.Line, p.Field, p.Message)
}

// Invalid is the error of a file that cannot be used, with every problem.
type Invalid struct{ Problems []Problem }

// Error returns one line for each problem.
func (e *Invalid) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Parse returns the issuers of a file, in its order, those with a URL before the
// patterns. Each passes its Check, and no two have the same URL. The error is
// *Invalid.
func Parse(data []byte) ([]identity.Issuer, error) {
	r := &reader{json: json.Valid(data)} // upstream tries JSON first, too
	root, err := r.document(data)
	if err != nil {
		return nil, &Invalid{[]Problem{*err}}
	}
	f := r.file(root)
	issuers := f.issuers(r)
	if len(r.problems) == 0 && len(issuers) == 0 {
		r.add(root, "", "no issuer: want %s or %s", r.name(topKeys, "oidc-issuers"), r.name(topKeys, "meta-issuers"))
	}
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
		return nil, &Invalid{slices.Compact(r.problems)}
	}
	return issuers, nil
}

// file is what a file says.
type file struct {
	exact, patterns []issuer
	providers       map[string]*identity.CIProvider // nil for one with a problem
}

// issuer is one entry, and where it is.
type issuer struct {
	identity.Issuer
	at       *node
	field    string
	url      string // issuer-url, which repeats the entry's name
	provider string // ci-provider
	caCert   string // PEM
}

// issuers checks all entries as the contract's §10 asks.
func (f *file) issuers(r *reader) []identity.Issuer {
	var out []identity.Issuer
	seen := map[string]bool{}
	for _, i := range f.exact {
		if i.Wildcard() {
			r.add(i.at, i.field, "a pattern belongs into %s", r.name(topKeys, "meta-issuers"))
			continue
		}
		if i.url != i.URL {
			r.add(i.at, i.field, "%s is %q, want the entry's own name", r.name(issuerKeys, "issuer-url"), i.url)
			continue
		}
		out = append(out, f.check(r, i, seen))
	}
	for _, i := range f.patterns {
		if i.url != "" && i.url != i.URL {
			r.add(i.at, i.field, "%s is %q: leave it out, the entry's name is the pattern", r.name(issuerKeys, "issuer-url"), i.url)
			continue
		}
		out = append(out, f.check(r, i, seen))
	}
	return out
}

func (f *file) check(r *reader, i issuer, seen map[string]bool) identity.Issuer {
	if seen[i.URL] {
		r.add(i.at, i.field, "the issuer is listed twice")
		return i.Issuer
	}
	seen[i.URL] = true
	if i.caCert != "" {
		certs, err := pki.ParseCertificatesPEM([]byte(i.caCert))
		if err != nil {
			r.add(i.at, i.field, "%s: %v", r.name(issuerKeys, "ca-cert"), err)
			return i.Issuer
		}
		i.RootCAs = certs
	}
	switch provider, known := f.providers[i.provider]; {
	case i.provider == "":
	case !known:
		r.add(i.at, i.field, "%s: there is no %q in %s", r.name(issuerKeys, "ci-provider"), i.provider, r.name(topKeys, "ci-issuer-metadata"))
		return i.Issuer
	case provider == nil: // its problem has been said
		return i.Issuer
	case i.Type == identity.CIProviderType: // elsewhere it has no effect, as upstream
		i.CIProvider = provider
	}
	if err := i.Check(); err != nil {
		r.add(i.at, i.field, "%s", strings.TrimPrefix(err.Error(), fmt.Sprintf("issuer %q: ", i.URL)))
	}
	return i.Issuer
}
