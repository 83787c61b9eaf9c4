package stack

import (
	"time"

	"sigstack/internal/config"
	"sigstack/services/ca/identity"
)

// Who says which tokens are an issuer's.
const (
	BackedByItself    = "itself"    // its own discovery document
	BackedByStack     = "stack"     // the built-in issuer
	BackedByKeys      = "keys"      // a key set of this stack's operator
	BackedByDiscovery = "discovery" // another host, of this stack's operator's choice
)

// IssuerStatus is an issuer whose tokens are accepted.
type IssuerStatus struct {
	URL        string `json:"url"` // a pattern if * is in it
	Audience   string `json:"audience"`
	Type       string `json:"type"`
	CIProvider string `json:"ci_provider,omitempty"`
	Backing    string `json:"backing"` // one of those above
	// LocallyBacked: this stack's operator, and not whom URL names, says which tokens
	// are the issuer's.
	LocallyBacked bool   `json:"locally_backed"`
	DiscoveryURL  string `json:"discovery_url,omitempty"`
	// Policy: rules decide beside the token's signature.
	Policy bool `json:"policy"`
	// Lifetime of certificates in seconds.
	Lifetime int64 `json:"lifetime_seconds"`
}

func issuerStatus(i identity.Issuer, own string) IssuerStatus {
	st := IssuerStatus{
		URL: i.URL, Audience: i.ClientID, Type: string(i.Type), Backing: BackedByItself,
		LocallyBacked: i.LocallyBacked(), DiscoveryURL: i.DiscoveryURL, Policy: i.Policy != nil,
		Lifetime: int64(identity.MaxLifetime / time.Second),
	}
	if i.Lifetime > 0 {
		st.Lifetime = int64(i.Lifetime / time.Second)
	}
	if i.CIProvider != nil {
		st.CIProvider = i.CIProvider.Name()
	}
	switch {
	case i.Keys != nil:
		st.Backing = BackedByKeys
	case i.DiscoveryURL != "":
		st.Backing = BackedByDiscovery
	case i.URL == own:
		st.Backing = BackedByStack
	}
	return st
}

// Issuers returns those that the configuration of a data directory accepts, with
// every problem that one of them has as a *config.Invalid.
func (l Layout) Issuers(conf *config.Config) ([]IssuerStatus, error) {
	issuers, problems := l.issuersOf(conf, podFiles())
	if len(problems) > 0 {
		return nil, &config.Invalid{File: l.Config(), Problems: problems}
	}
	return issuerStatuses(issuers, conf.IssuerURL()), nil
}

func issuerStatuses(issuers []identity.Issuer, own string) []IssuerStatus {
	out := []IssuerStatus{}
	for _, i := range issuers {
		out = append(out, issuerStatus(i, own))
	}
	return out
}

// issuerStatuses are those of the CA of this process, as it accepts them now.
func (s *Stack) issuerStatuses() []IssuerStatus {
	if s.services.ca == nil {
		return []IssuerStatus{}
	}
	return issuerStatuses(s.services.ca.Issuers(), s.conf.IssuerURL())
}
