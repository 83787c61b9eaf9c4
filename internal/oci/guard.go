package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"sigstack/internal/signing"
)

// Limits on what a registry makes us read or wait for.
const (
	maxManifest    = 4 << 20           // bytes of a manifest or a page of referrers, as registries have it
	maxBlob        = signing.MaxBundle // bytes of anything else
	requestTimeout = 5 * time.Minute   // one request with its whole answer
)

// errPlainHTTP ends a request that would leave this machine unencrypted.
var errPlainHTTP = errors.New("plain HTTP is spoken with registries of this machine only; --allow-insecure-registry permits it")

// guard bounds every exchange with a registry, redirects and token requests
// included.
type guard struct {
	inner     http.RoundTripper
	allowHTTP bool
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !g.allowHTTP && !loopback(req.URL.Hostname()) {
		return nil, fmt.Errorf("%s: %w", req.URL.Host, errPlainHTTP)
	}
	ctx, cancel := context.WithTimeout(req.Context(), requestTimeout)
	resp, err := g.inner.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	most := limitOf(req.URL.Path)
	resp.Body = &boundedBody{resp.Body, most, most, cancel}
	return resp, nil
}

func limitOf(path string) int64 {
	if strings.Contains(path, "/manifests/") || strings.Contains(path, "/referrers/") {
		return maxManifest
	}
	return maxBlob
}

// boundedBody fails once more than most bytes were read, and ends the request's
// context when it is closed.
type boundedBody struct {
	io.ReadCloser
	most, left int64
	cancel     context.CancelFunc
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("the answer has more than %d bytes", b.most)
	}
	return n, err
}

// Close implements io.Closer.
func (b *boundedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
