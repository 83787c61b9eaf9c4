package explain

import (
	"fmt"
	"net/http"

	"github.com/go-jose/go-jose/v4/json"

	"sigstack/services/ca/identity"
)

// PublishedIssuers reads what an authority publishes at /api/v2/configuration, in
// proto-JSON (contract: ca.md §1). Their keys are asked for by client. Fixed keys,
// paths of issuer claims, lifetimes, rules and metadata of CI systems are not in it.
func PublishedIssuers(configuration []byte, client *http.Client) ([]identity.Issuer, error) {
	var answer struct {
		Issuers []publishedIssuer `json:"issuers"`
	}
	if err := json.Unmarshal(configuration, &answer); err != nil {
		return nil, fmt.Errorf("parse the authority's configuration: %w", err)
	}
	var issuers []identity.Issuer
	for n, p := range answer.Issuers {
		issuer := p.issuer(client)
		if issuer.Type == identity.CIProviderType {
			// Its own metadata are not known, and these are never used.
			var err error
			if issuer.CIProvider, err = identity.NewCIProvider("unknown", identity.CIMetadata{SubjectAlternativeNameTemplate: "sub"}); err != nil {
				return nil, err
			}
		}
		if err := issuer.Check(); err != nil {
			return nil, fmt.Errorf("the authority's configuration, issuer %d: %w", n+1, err)
		}
		issuers = append(issuers, issuer)
	}
	return issuers, nil
}

type publishedIssuer struct {
	IssuerURL             string `json:"issuerUrl"`
	WildcardIssuerURL     string `json:"wildcardIssuerUrl"`
	Audience              string `json:"audience"`
	SPIFFETrustDomain     string `json:"spiffeTrustDomain"`
	IssuerType            string `json:"issuerType"`
	SubjectDomain         string `json:"subjectDomain"`
	SkipEmailVerification bool   `json:"skipEmailVerification"`
}

func (p publishedIssuer) issuer(client *http.Client) identity.Issuer {
	return identity.Issuer{
		URL: p.IssuerURL + p.WildcardIssuerURL, ClientID: p.Audience, Type: identity.Type(p.IssuerType),
		SubjectDomain: p.SubjectDomain, SPIFFETrustDomain: p.SPIFFETrustDomain,
		SkipEmailVerification: p.SkipEmailVerification, HTTPClient: client,
	}
}
