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
	maxCopied      = 64 << 30          // bytes of a blob that is copied, which is never held in memory
	requestTimeout = 5 * time.Minute   // one request with its whole answer
	copyTimeout    = time.Hour         // one with a blob that is copied
)

// errPlainHTTP ends a request that would leave this machine unencrypted.
var errPlainHTTP = errors.New("plain HTTP is spoken with registries of this machine only; --allow-insecure-registry permits it")

// guard bounds every exchange with a registry, redirects and token requests
// included.
type guard struct {
	inner     http.RoundTripper
	allowHTTP bool
	bulk      bool // it copies blobs of any size
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !g.allowHTTP && !loopback(req.URL.Hostname()) {
		return nil, fmt.Errorf("%s: %w", req.URL.Host, errPlainHTTP)
	}
	most, within := limitOf(req.URL.Path), requestTimeout
	if g.bulk && most == maxBlob {
		most, within = maxCopied, copyTimeout
	}
	ctx, cancel := context.WithTimeout(req.Context(), within)
	resp, err := g.inner.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
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
