package signing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sigstack/internal/pki"
)

// Authorities are roots of TLS certificates that count beside the system's, and
// for the hosts of some URLs only: whoever vouches for a private stack has no say
// about the rest of the world.
type Authorities []*x509.Certificate

// ParseAuthorities reads PEM certificates, at least one; name stands for them in
// errors.
func ParseAuthorities(name string, data []byte) (Authorities, error) {
	certs, err := pki.ParseCertificatesPEM(data)
	if err != nil {
		return nil, fmt.Errorf("read TLS authorities from %s: %w", name, err)
	}
	return certs, nil
}

// HTTPClient is NewHTTPClient, but takes certificates of these authorities too,
// from the hosts of urls. Without authorities it is just that.
func (a Authorities) HTTPClient(urls ...string) (*http.Client, error) {
	return a.client(func(*http.Transport) {}, urls)
}

// HTTPClientTo is HTTPClient for a service on this machine: it connects to
// address, whatever host url has.
func (a Authorities) HTTPClientTo(address, url string) (*http.Client, error) {
	return a.client(func(t *http.Transport) {
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	}, []string{url})
}

// client changes the transport that it uses for the hosts of urls.
func (a Authorities) client(change func(*http.Transport), urls []string) (*http.Client, error) {
	client := NewHTTPClient()
	other := client.Transport.(*http.Transport)
	t := &byHost{own: other.Clone(), other: other}
	change(t.own)
	if len(a) > 0 {
		system, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("read this machine's TLS authorities: %w", err)
		}
		for _, c := range a {
			system.AddCert(c)
		}
		t.own.TLSClientConfig = &tls.Config{RootCAs: system, MinVersion: tls.VersionTLS12}
	}
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("trust the host of a service: %w", err)
		}
		t.hosts = append(t.hosts, strings.ToLower(u.Hostname()))
	}
	client.Transport = t
	return client, nil
}

// byHost sends requests of some hosts another way. Ports do not matter, as
// certificates know none.
type byHost struct {
	hosts      []string // lower case
	own, other *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (t *byHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if slices.Contains(t.hosts, strings.ToLower(r.URL.Hostname())) {
		return t.own.RoundTrip(r)
	}
	return t.other.RoundTrip(r)
}

// CloseIdleConnections is what http.Client looks for.
func (t *byHost) CloseIdleConnections() {
	t.own.CloseIdleConnections()
	t.other.CloseIdleConnections()
}

// What helps when a server's certificate is not taken.
const (
	nextAuthority = "if it is the stack's own, trust the file tls-ca.crt.pem of the stack's kit: by --client, --tls-ca or the variable SSL_CERT_FILE"
	nextName      = "use the URL by which the stack calls itself, or have its certificate name this host too"
	nextValid     = "have it renewed, or set this machine's clock"
)

// distrusted tells whether err is that of a server whose certificate was not
// taken, which asking again does not mend: then it returns what to do, and why.
func distrusted(err error) (next string, reason error) {
	var failed *tls.CertificateVerificationError
	if !errors.As(err, &failed) || len(failed.UnverifiedCertificates) == 0 {
		return "", nil
	}
	sent := failed.UnverifiedCertificates
	var stranger x509.UnknownAuthorityError
	var elsewhere x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(failed.Err, &stranger):
		return nextAuthority, fmt.Errorf("its TLS certificate is by an authority that is not trusted here, %q", sent[len(sent)-1].Issuer)
	case errors.As(failed.Err, &elsewhere):
		return nextName, fmt.Errorf("its TLS certificate is not for this host: %w", failed.Err)
	case errors.As(failed.Err, &invalid) && invalid.Reason == x509.Expired:
		return nextValid, fmt.Errorf("its TLS certificate, by %q, is not valid now: %w", sent[0].Issuer, failed.Err)
	}
	return nextAuthority, fmt.Errorf("its TLS certificate, by %q, is not good: %w", sent[0].Issuer, failed.Err)
}

// Unreachable words why service at url gave no usable answer.
func Unreachable(service, url string, err error) *UnreachableError {
	if next, reason := distrusted(err); reason != nil {
		return &UnreachableError{Service: service, URL: url, Err: reason, Next: next}
	}
	return &UnreachableError{Service: service, URL: url, Err: err}
}
