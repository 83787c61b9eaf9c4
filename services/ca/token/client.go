package token

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"sigstack/services/ca/identity"
)

// maxDocument bounds what is read of an issuer's answer, in bytes.
const maxDocument = 1 << 20

// hardened returns the client that asks an issuer: no redirects to another host
// or to plain HTTP, no cookies, a time limit, TLS 1.2 or later.
func hardened(issuer identity.Issuer) (*http.Client, error) {
	client := &http.Client{Timeout: fetchTimeout, CheckRedirect: sameHost}
	if issuer.HTTPClient != nil {
		client.Transport = issuer.HTTPClient.Transport
		return client, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("load system root certificates: %w", err)
	}
	for _, c := range issuer.RootCAs {
		roots.AddCert(c)
	}
	client.Transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          10,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   fetchTimeout,
		ResponseHeaderTimeout: fetchTimeout,
	}
	return client, nil
}

// sameHost refuses redirects that would let an issuer, or whoever poses as one,
// send us to a host inside our own network.
func sameHost(next *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case next.URL.Host != first.Host:
		return errors.New("redirect to another host is refused")
	case first.Scheme == "https" && next.URL.Scheme != "https":
		return errors.New("redirect to plain http is refused")
	case len(via) >= 5:
		return errors.New("too many redirects")
	}
	return nil
}

// authorize shows the issuer's own host, and nobody else, the token that it asks
// for: one that a pattern matched may be a stranger's.
func (s *source) authorize(req *http.Request) error {
	if s.issuer.BearerTokenFile == "" || s.issuer.Wildcard() {
		return nil
	}
	own, err := url.Parse(s.url)
	if err != nil {
		return fmt.Errorf("parse URL: %w", err)
	}
	if req.URL.Scheme != "https" || req.URL.Host != own.Host {
		return nil
	}
	token, err := os.ReadFile(s.issuer.BearerTokenFile)
	if err != nil {
		return fmt.Errorf("read token for the issuer: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	return nil
}

func (s *source) getJSON(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask issuer: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if err := s.authorize(req); err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask issuer: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return &statusError{url, resp.StatusCode}
	case len(body) > maxDocument:
		return fmt.Errorf("get %s: answer is over %d bytes", url, maxDocument)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("decode %s: %w", url, err)
	}
	return nil
}
