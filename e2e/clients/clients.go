// Package clients drives the signing clients that an organisation may already
// use, each by its own command line, behind one interface. What is signed, where
// the signature is kept and where trust comes from is said by a Request.
package clients

import (
	"os"
	"path/filepath"
	"testing"

	"sigstack/e2e/e2etest"
)

// Kind is what is signed, and where the signature is kept.
type Kind string

const (
	Blob                     Kind = "blob"                          // a file; the signature is a Sigstore bundle
	BlobLegacy               Kind = "blob, cosign's own bundle"     // a file; the format that cosign 2 writes by default
	Attestation              Kind = "attestation"                   // a DSSE in-toto statement on a file, in a Sigstore bundle
	ImageTag                 Kind = "image by tag"                  // sha256-….sig beside the image
	ImageReferrer            Kind = "image by referrer"             // a Sigstore bundle that refers to the image (OCI 1.1)
	ImageTagAttestation      Kind = "image attestation by tag"      // sha256-….att
	ImageReferrerAttestation Kind = "image attestation by referrer" // as ImageReferrer
)

// Kinds are all kinds.
func Kinds() []Kind {
	return []Kind{Blob, Attestation, ImageTag, ImageReferrer, ImageTagAttestation, ImageReferrerAttestation, BlobLegacy}
}

// Image tells whether an image is signed rather than a file.
func (k Kind) Image() bool {
	return k == ImageTag || k == ImageReferrer || k == ImageTagAttestation || k == ImageReferrerAttestation
}

// Attests tells whether a statement with a predicate is signed.
func (k Kind) Attests() bool {
	return k == Attestation || k == ImageTagAttestation || k == ImageReferrerAttestation
}

// Bundle tells whether the signature is a Sigstore bundle, wherever it is kept.
func (k Kind) Bundle() bool {
	return k != BlobLegacy && k != ImageTag && k != ImageTagAttestation
}

// Source says by which means a client learns whom to trust.
type Source string

const (
	Kit Source = "kit" // files: trusted_root.json, and signing_config.v0.2.json to sign
	TUF Source = "TUF" // the stack's TUF repository, bootstrapped with root.json
	Env Source = "env" // SIGSTORE_* variables that name PEM files; services by flags
)

// Trust is what a client is told of a stack.
type Trust struct {
	Source Source
	Dir    string // the kit's directory; for TUF only its root.json is used
	URL    string // of the services
	Mirror string // URL of the TUF repository

	MirrorCopy string // directory with the TUF repository's files, for clients that read one offline
	Cache      string // directory of the client's TUF state, filled when empty; "" for a new one at each call
}

// TrustOf is the trust in a running stack.
func TrustOf(s *e2etest.Stack, source Source) Trust {
	return Trust{Source: source, Dir: s.Kit(""), URL: s.URL, Mirror: s.URL + "/tuf", MirrorCopy: filepath.Join(s.ServiceDir("tuf"), "tuf")}
}

// File is the path of a file of the kit.
func (t Trust) File(name string) string { return filepath.Join(t.Dir, name) }

// Issuer is the URL of the stack's own OIDC issuer.
func (t Trust) Issuer() string { return t.URL + "/dex" }

// Request is one signature to make or to check. Fields that an operation does
// not need are ignored.
type Request struct {
	Kind  Kind
	Trust Trust

	File   string // path of what is signed, for kinds that are not images
	Bundle string // path of the signature of a file: written by Sign, read by Verify
	Image  string // REGISTRY/REPOSITORY@sha256:…

	PredicateType string // URI; of attestations
	Predicate     string // path of a JSON file; of attestations, to sign

	Token      string // identity token, to sign keyless
	PrivateKey string // path, to sign with a key pair: one of the client's own KeyPair
	PublicKey  string // path of a PEM file, to verify a key pair's signature

	Identity, Issuer string // whose signature Verify demands, unless PublicKey is set

	Signer string // name of the client that signed; some limits of Verify depend on it

	Timestamp bool // Sign gets an RFC 3161 timestamp; Verify demands one where the client can
	Offline   bool // Verify is told not to ask the network, where the client can be told
}

// KeyedBy returns r with a key pair in place of an identity.
func (r Request) KeyedBy(private, public string) Request {
	r.Token, r.Identity, r.Issuer = "", "", ""
	r.PrivateKey, r.PublicKey = private, public
	return r
}

// Limit is why a client cannot do what is asked, and how it says so.
type Limit struct {
	Why  string // upstream's reason, for readers
	Says string // regular expression that the client's output matches when it is asked all the same
}

// Client is one signing client. Sign and Verify run it and return how its first
// failing, else its last, command ended.
type Client interface {
	// Name is the one in bin/clients.
	Name() string
	// Version is read from the program itself.
	Version(t *testing.T) string
	// KeyPair makes a key pair in the form that the client signs with.
	KeyPair(t *testing.T) (private, public string)
	Sign(t *testing.T, r Request) e2etest.Result
	Verify(t *testing.T, r Request) e2etest.Result
	// SignLimit and VerifyLimit return nil for what the client can do.
	SignLimit(r Request) *Limit
	VerifyLimit(r Request) *Limit
}

// All returns every client.
func All() []Client {
	return []Client{CosignV3(), CosignV2(), SigstoreJS(), Sigstack()}
}

// cache returns a directory for TUF state, and whether it is filled already.
func (t Trust) cache(tb *testing.T) (dir string, filled bool) {
	tb.Helper()
	if t.Cache == "" {
		return filepath.Join(tb.TempDir(), "tuf"), false
	}
	entries, err := os.ReadDir(t.Cache)
	return t.Cache, err == nil && len(entries) > 0
}
