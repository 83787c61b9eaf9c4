package stack

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/services/ca/identity"
)

// withExtraIssuers returns conf with more issuers; conf itself stays what the file
// says.
func withExtraIssuers(conf *config.Config, extra []config.Issuer) (*config.Config, error) {
	switch {
	case len(extra) == 0:
		return conf, nil
	case conf.CA == nil:
		return nil, errors.New("there is no CA in this stack that could trust an issuer")
	}
	issuers, err := withIssuers(conf.CA.Issuers, extra)
	if err != nil {
		return nil, err
	}
	more, ca := *conf, *conf.CA
	ca.Issuers, more.CA = issuers, &ca
	return &more, nil
}

// withIssuers returns issuers and, behind them, those of extra that are not among
// them. One that is, but with other settings, is an error: which ones hold must
// not depend on how often a command is repeated.
func withIssuers(issuers, extra []config.Issuer) ([]config.Issuer, error) {
	out := slices.Clone(issuers)
	for _, iss := range extra {
		if err := iss.Validate(); err != nil {
			return nil, fmt.Errorf("issuer %s: %w", iss.URL, err)
		}
		i := slices.IndexFunc(out, func(known config.Issuer) bool { return known.URL == iss.URL && known.ClientID == iss.ClientID })
		switch {
		case i < 0:
			out = append(out, iss)
		case !out[i].Equal(iss):
			return nil, fmt.Errorf("issuer %s is trusted already, as type %s with client id %s%s: change that, or ask for the same",
				iss.URL, out[i].Type, out[i].ClientID, inDomain(out[i].SubjectDomain))
		}
	}
	return out, nil
}

func inDomain(domain string) string {
	if domain == "" {
		return ""
	}
	return " and subject domain " + domain
}

// issuers returns what tokens are verified with, of those that conf accepts. The
// stack's own issuer is asked in-process, or in the process that it runs in: behind
// a proxy the public URL may not lead back here. The error is *config.Invalid, with
// every problem.
func (b *builder) issuers(conf *config.Config) ([]identity.Issuer, error) {
	issuers, problems := b.layout.issuersOf(conf, podFiles())
	if len(problems) > 0 {
		return nil, &config.Invalid{Problems: problems}
	}
	for i := range issuers {
		if issuers[i].URL == b.issuerURL() {
			issuers[i].HTTPClient = b.ownIssuerClient()
		}
	}
	return issuers, nil
}

// ownIssuerClient asks the built-in issuer, nil if this stack has none.
func (b *builder) ownIssuerClient() *http.Client {
	if b.conf.OIDC != nil {
		return &http.Client{Transport: httpd.InProcess{Handler: b.mux}}
	}
	if link := b.linkTo("oidc"); link != nil {
		return &http.Client{Transport: link.client}
	}
	return nil
}

func (b *builder) issuerURL() string { return b.conf.IssuerURL() }

// reportIssuers warns of issuers that do not answer. The authority itself is well:
// what those signed with keys that it knows is good still, and others are served.
func (s *Stack) reportIssuers(away []string) {
	if len(away) == 0 {
		s.ready.SetPart("ca", "issuers", httpd.OK, "the issuers of tokens answer")
		return
	}
	s.ready.SetPart("ca", "issuers", httpd.Warn, "no answer from the issuer "+strings.Join(away, ", ")+
		": of its tokens only those by keys that are known already are taken")
}
