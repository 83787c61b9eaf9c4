package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"sigstack/internal/fault"
	"sigstack/internal/keys/kms"
	"sigstack/internal/keys/token"
)

// Devices says how keys that live elsewhere are reached.
type Devices struct {
	// PluginDir is where the programs sigstore-kms-SCHEME are; empty: PATH.
	PluginDir string
	// Log takes what those programs report; may be nil.
	Log *slog.Logger
}

// device is where one key lives. Its errors are fault.Unavailable where another
// try may help, fault.NotFound where there surely is no such key.
type device interface {
	Public() (*ecdsa.PublicKey, error)
	Create(Algorithm) (*ecdsa.PublicKey, error)
	Sign(digest []byte, hash crypto.Hash) ([]byte, error)
}

// open returns the device for uri. It is not asked anything yet.
func (d Devices) open(uri string) (device, error) {
	if err := CheckURI(uri); err != nil {
		return nil, err
	}
	if strings.HasPrefix(uri, token.Scheme) {
		parsed, err := token.ParseURI(uri)
		if err != nil {
			return nil, err
		}
		key, err := token.Open(parsed)
		return inToken{key}, err
	}
	key, err := kms.Open(uri, kms.Options{Dir: d.PluginDir, Log: d.Log})
	return inService{key}, err
}

type inToken struct{ *token.Key }

func (t inToken) Create(alg Algorithm) (*ecdsa.PublicKey, error) {
	curve, ok := curves[alg]
	if !ok {
		return nil, fmt.Errorf("algorithm %s: a token's key is ECDSA", alg)
	}
	return t.Key.Create(curve)
}

func (t inToken) Sign(digest []byte, _ crypto.Hash) ([]byte, error) { return t.Key.Sign(digest) }

type inService struct{ *kms.Key }

// serviceNames are what the plugins of sigstore's own services call algorithms.
var serviceNames = map[Algorithm]string{ECDSAP256: "ecdsa-p256", ECDSAP384: "ecdsa-p384"}

func (s inService) Create(alg Algorithm) (*ecdsa.PublicKey, error) {
	name, ok := serviceNames[alg]
	if !ok {
		return nil, fmt.Errorf("algorithm %s: a key service's key is ECDSA", alg)
	}
	return s.Key.Create(name)
}

var curves = map[Algorithm]elliptic.Curve{ECDSAP256: elliptic.P256(), ECDSAP384: elliptic.P384()}

// remote is the signer of a key that lives elsewhere. It hands out no signature
// that the pinned public half does not verify, so a device that was exchanged
// stops signing rather than signing as somebody else.
type remote struct {
	name, uri string
	public    *ecdsa.PublicKey
	device    device

	mu      sync.Mutex
	uses    uint64 // guarded by mu: signatures made
	failure error  // guarded by mu: of the last try
}

func (r *remote) Public() crypto.PublicKey { return r.public }

// Sign returns an ECDSA signature as DER. The error is fault.Unavailable, with a
// sentence that names the key and not where it lives.
func (r *remote) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	sig, err := r.device.Sign(digest, opts.HashFunc())
	if err == nil && !ecdsa.VerifyASN1(r.public, digest, sig) {
		err = errors.New("it signed with another key than the pinned one: the key there was exchanged or has a new version")
	}
	r.record(err)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, fmt.Errorf("sign at %s: %w", r.uri, err), "key "+r.name+" is unavailable; try again later")
	}
	return sig, nil
}

func (r *remote) record(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = err
	if err == nil {
		r.uses++
	}
}

// check compares the device's public half with the pin. A device that cannot be
// asked now is left for later, when its first signature is verified.
func (r *remote) check() error {
	public, err := r.device.Public()
	switch {
	case err == nil && !public.Equal(r.public):
		return fmt.Errorf("the key at %s has another public half than the pinned one: it was exchanged or has a new version", r.uri)
	case err != nil && fault.KindOf(err) != fault.Unavailable:
		return fmt.Errorf("key at %s: %w", r.uri, err)
	}
	r.record(err)
	return nil
}

// URI returns where the private half lives, "" for a file or memory.
func (k Key) URI() string {
	if k.remote == nil {
		return ""
	}
	return k.remote.uri
}

// Use returns, for a key that lives elsewhere, how many signatures it has made
// in this process and the error of the last try, nil if that went well.
func (k Key) Use() (signatures uint64, failure error) {
	if k.remote == nil {
		return 0, nil
	}
	k.remote.mu.Lock()
	defer k.remote.mu.Unlock()
	return k.remote.uses, k.remote.failure
}
