// Package oci signs and verifies what an OCI registry holds, images and other
// artifacts alike: by tag, as cosign 2 does it, and as bundles that refer to
// their subject (contract release-artifacts §B). How a digest or a statement is
// signed and judged is signing's.
package oci

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Style says where in a registry a signature or an attestation is kept.
type Style string

// The storage styles of contract release-artifacts §B.
const (
	Referrer Style = "referrer" // B2: a manifest of its own whose subject is the image
	Tag      Style = "tag"      // B1: a layer of the image tagged sha256-<hex>.sig or .att
)

// Options set a Registry up. The zero value is anonymous and speaks plain HTTP
// with this machine only.
type Options struct {
	Keychain  authn.Keychain    // credentials; nil: none
	Transport http.RoundTripper // nil: one with time-outs
	AllowHTTP bool              // speak plain HTTP with any registry that has no TLS
	Now       func() time.Time  // measures how slow a registry is; nil: it is taken to be quick
}

// Registry reads and writes signatures in any number of OCI registries. It is
// safe for concurrent use.
type Registry struct {
	keychain  authn.Keychain
	transport http.RoundTripper // guarded, and pings once
	allowHTTP bool
	now       func() time.Time
	ends
	bulk     ends      // for blobs of any size
	clients  *sync.Map // of *http.Client, by repository and what may be done there
	emptied  *sync.Map // repositories that have the empty blob
	twoSteps *sync.Map // registries that take no blob with the request that begins an upload
	glance   *glance   // nil: everything is read anew
	later    *later    // nil: what is written is looked at twice at once
	verdicts *verdicts // nil: what is found is judged anew
}

// ends are the two of an exchange with registries.
type ends struct {
	puller *remote.Puller
	pusher *remote.Pusher
}

// New returns a Registry; it connects to nothing yet.
func New(o Options) *Registry {
	if o.Keychain == nil {
		o.Keychain = authn.NewMultiKeychain() // an empty one answers: anonymous
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	if o.Now == nil {
		o.Now = func() time.Time { return time.Time{} }
	}
	pings := newPings(&guard{o.Transport, o.AllowHTTP, false})
	r := &Registry{
		keychain: o.Keychain, transport: pings, allowHTTP: o.AllowHTTP, now: o.Now,
		clients: new(sync.Map), emptied: new(sync.Map), twoSteps: new(sync.Map),
	}
	r.ends = newEnds(o.Keychain, r.transport)
	r.bulk = newEnds(o.Keychain, newPings(&guard{o.Transport, o.AllowHTTP, true}))
	return r
}

func newEnds(keychain authn.Keychain, transport http.RoundTripper) ends {
	options := []remote.Option{remote.WithAuthFromKeychain(keychain), remote.WithTransport(transport)}
	puller, err := remote.NewPuller(options...)
	if err != nil {
		panic("oci: these options are never refused: " + err.Error())
	}
	pusher, err := remote.NewPusher(options...)
	if err != nil {
		panic("oci: these options are never refused: " + err.Error())
	}
	return ends{puller, pusher}
}

// idleConnections are kept to one registry: as many as a run has requests in flight, so
// that none is set up anew for each.
const idleConnections = 64

// newTransport is Go's default with a limit on how long a registry may think.
func newTransport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = 30 * time.Second
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 4*idleConnections, idleConnections
	return t
}

// CheckReference returns a *ReferenceError unless ref, without oci://, is a
// reference to an image.
func CheckReference(ref string) error {
	_, err := parseReference(ref, false)
	return err
}

// parseReference reads a reference, without oci://, as docker does: no registry
// means Docker Hub and no tag means latest.
func parseReference(ref string, allowHTTP bool) (name.Reference, error) {
	if strings.Contains(ref, "://") {
		return nil, &ReferenceError{ref, errors.New("it has a scheme")}
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return nil, &ReferenceError{ref, err}
	}
	if !allowHTTP && !loopback(hostOf(parsed.Context().RegistryStr())) {
		return parsed, nil
	}
	return name.ParseReference(ref, name.Insecure) // HTTPS is still tried first
}

func hostOf(registry string) string {
	host, _, err := net.SplitHostPort(registry)
	if err != nil {
		host = registry
	}
	return strings.Trim(host, "[]")
}

// loopback reports whether host is this machine, by name (RFC 6761 §6.3) or by
// address.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip.IsLoopback()
}

// jitter spreads d over its whole length, so that signers who met once do not
// meet again.
func jitter(d time.Duration) time.Duration {
	var b [1]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return d * time.Duration(b[0]) / 255
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
