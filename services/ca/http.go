package ca

import (
	"context"
	"encoding/pem"
	"net/http"
	"slices"
	"strings"

	"sigstack/internal/httpd"
	"sigstack/services/ca/identity"
)

// createV2 answers POST /api/v2/signingCert.
func (s *Service) createV2(w http.ResponseWriter, r *http.Request) error {
	chain, err := s.Certify(r.Context(), decoding(r, decodeV2))
	if err != nil {
		return err
	}
	var answer signingCertificate
	for _, c := range chain {
		answer.Embedded.Chain.Certificates = append(answer.Embedded.Chain.Certificates, strings.TrimSpace(c))
	}
	return httpd.WriteJSON(w, http.StatusOK, answer)
}

// createV1 answers POST /api/v1/signingCert with the chain as PEM, leaf first.
func (s *Service) createV1(w http.ResponseWriter, r *http.Request) error {
	chain, err := s.Certify(r.Context(), decoding(r, decodeV1))
	if err != nil {
		return err
	}
	writePEM(w, http.StatusCreated, chain)
	return nil
}

// decoding finds the request in the body of r, and the token in a header if it is
// not in the body.
func decoding(r *http.Request, decode func([]byte) (Request, error)) func() (Request, error) {
	return func() (Request, error) {
		body, err := httpd.ReadBody(r)
		if err != nil {
			return Request{}, err
		}
		req, err := decode(body)
		if err == nil && req.Token == "" {
			req.Token = httpd.BearerToken(r.Header)
		}
		return req, err
	}
}

// Certify is what every face of the authority does: it issues for the request that
// decode returns, whose error is a refusal like any other, and returns the chain,
// leaf first, each as PEM ending in a newline. Errors are those of Prepare and
// Issue.
func (s *Service) Certify(ctx context.Context, decode func() (Request, error)) ([]string, error) {
	req, err := decode()
	if err != nil {
		return nil, s.refused(ctx, caller{}, err)
	}
	approval, err := s.Prepare(ctx, req)
	if err != nil {
		return nil, err
	}
	der, err := s.Issue(ctx, approval)
	if err != nil {
		return nil, err
	}
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append([]string{string(leaf)}, approval.state.chainPEM...), nil
}

// Chain returns the chain now in use as PEM, the issuing certificate first, each
// ending in a newline. The caller must not change it.
func (s *Service) Chain() []string { return s.state.Load().chainPEM }

// Bundle returns the chains of the trust bundle, each as Chain has them: the one
// now in use, and behind it the retired ones. The caller must not change it.
func (s *Service) Bundle() [][]string { return s.state.Load().bundle }

// Issuers returns whose tokens are good here. The caller must not change it.
func (s *Service) Issuers() []identity.Issuer { return s.state.Load().Issuers }

// trustBundle answers GET /api/v2/trustBundle: the chain now in use first, and
// those that were in use behind it (contract: ca.md §11).
func (s *Service) trustBundle(w http.ResponseWriter, _ *http.Request) error {
	var answer trustBundle
	for _, chain := range s.Bundle() {
		answer.Chains = append(answer.Chains, certificateChain{chain})
	}
	return httpd.WriteJSON(w, http.StatusOK, answer)
}

// rootCert answers GET /api/v1/rootCert.
func (s *Service) rootCert(w http.ResponseWriter, _ *http.Request) error {
	writePEM(w, http.StatusOK, slices.Concat(s.Bundle()...))
	return nil
}

// configuration answers GET /api/v2/configuration: whose tokens are good here.
func (s *Service) configuration(w http.ResponseWriter, _ *http.Request) error {
	answer := configuration{Issuers: []oidcIssuer{}}
	for _, i := range s.Issuers() {
		entry := oidcIssuer{
			Audience:              i.ClientID,
			ChallengeClaim:        i.ChallengeClaim(),
			SPIFFETrustDomain:     i.SPIFFETrustDomain,
			IssuerType:            string(i.Type),
			SubjectDomain:         i.SubjectDomain,
			SkipEmailVerification: i.SkipEmailVerification,
		}
		if i.Wildcard() {
			entry.WildcardIssuerURL = &i.URL
		} else {
			entry.IssuerURL = &i.URL
		}
		answer.Issuers = append(answer.Issuers, entry)
	}
	return httpd.WriteJSON(w, http.StatusOK, answer)
}

func writePEM(w http.ResponseWriter, status int, chain []string) {
	httpd.WriteBytes(w, status, "application/pem-certificate-chain", []byte(strings.Join(chain, "")))
}
