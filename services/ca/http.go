package ca

import (
	"context"
	"encoding/pem"
	"net/http"
	"strings"

	"sigstack/internal/httpd"
)

// createV2 answers POST /api/v2/signingCert.
func (s *Service) createV2(w http.ResponseWriter, r *http.Request) error {
	chain, err := s.create(r, decodeV2)
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
	chain, err := s.create(r, decodeV1)
	if err != nil {
		return err
	}
	writePEM(w, http.StatusCreated, chain)
	return nil
}

// create issues for the request that decode finds in the body and returns the
// chain, leaf first, each as PEM ending in a newline.
func (s *Service) create(r *http.Request, decode func([]byte) (Request, error)) ([]string, error) {
	body, err := httpd.ReadBody(r)
	if err != nil {
		return nil, s.refused(r.Context(), caller{}, err)
	}
	req, err := decode(body)
	if err != nil {
		return nil, s.refused(r.Context(), caller{}, err)
	}
	if req.Token == "" {
		req.Token = bearer(r.Header)
	}
	return s.certify(r.Context(), req)
}

func (s *Service) certify(ctx context.Context, req Request) ([]string, error) {
	approval, err := s.Prepare(ctx, req)
	if err != nil {
		return nil, err
	}
	der, err := s.Issue(ctx, approval)
	if err != nil {
		return nil, err
	}
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append([]string{string(leaf)}, s.chainPEM...), nil
}

// bearer returns the token of the Authorization header (RFC 6750 §2.1), "" if
// there is none. The scheme's case does not matter (RFC 9110 §11.1).
func bearer(h http.Header) string {
	scheme, token, ok := strings.Cut(h.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// trustBundle answers GET /api/v2/trustBundle: the chain now in use.
func (s *Service) trustBundle(w http.ResponseWriter, _ *http.Request) error {
	return httpd.WriteJSON(w, http.StatusOK, trustBundle{[]certificateChain{{s.chainPEM}}})
}

// rootCert answers GET /api/v1/rootCert.
func (s *Service) rootCert(w http.ResponseWriter, _ *http.Request) error {
	writePEM(w, http.StatusOK, s.chainPEM)
	return nil
}

// configuration answers GET /api/v2/configuration: whose tokens are good here.
func (s *Service) configuration(w http.ResponseWriter, _ *http.Request) error {
	answer := configuration{Issuers: []oidcIssuer{}}
	for _, i := range s.cfg.Issuers {
		entry := oidcIssuer{
			Audience:              i.ClientID,
			ChallengeClaim:        i.ChallengeClaim(),
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
