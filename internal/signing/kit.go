// Package signing is the client of a stack: with an identity token or a key pair
// it makes signatures and attestations that are logged and timestamped, as v0.3
// bundles, and it verifies bundles against a trust root. Trust material and URLs
// come from a client kit or by TUF (contract trust-material); the services
// themselves, registries, and which files to sign, are left to others.
package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"

	"sigstack/internal/trust"
)

// TrustRoot is one trusted_root.json. Roots are never merged: a verdict is
// always one root's, and names it.
type TrustRoot struct {
	Path   string
	SHA256 [sha256.Size]byte // of the file

	// DemandTimestamp refuses a signature without a timestamp by an authority of
	// this root, even where the log's time would do.
	DemandTimestamp bool

	material root.TrustedMaterial
	issuers  *trust.Issuers // nil: the root came without a kit that tells
	memo     memo
}

// LoadTrustRoot reads the trusted root in file path.
func LoadTrustRoot(path string) (*TrustRoot, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read trust root: %w", err)
	}
	return NewTrustRoot(path, data)
}

// NewTrustRoot parses a trusted root (contract trust-material §1); name stands
// for it in verdicts. Unknown members are errors.
func NewTrustRoot(name string, data []byte) (*TrustRoot, error) {
	material, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		return nil, fmt.Errorf("parse trust root %s: %w", name, err)
	}
	return &TrustRoot{Path: name, SHA256: sha256.Sum256(data), material: material}, nil
}

// String names the root: its path and the first twelve hex digits of its hash.
func (t *TrustRoot) String() string {
	return t.Path + " sha256:" + hex.EncodeToString(t.SHA256[:6])
}

// Kit is a client kit: whom to trust, and whom to call.
type Kit struct {
	Trusted *TrustRoot

	// TLS vouches for the hosts of the kit's services, beside what this machine
	// trusts anyway. It has no say in what is signed.
	TLS Authorities

	config *prototrustroot.SigningConfig // nil: for verification only
}

// LoadKit reads trusted_root.json and signing_config.v0.2.json from dir, and
// tls-ca.crt.pem and issuers.json if they are there.
func LoadKit(dir string) (*Kit, error) {
	rootPath := filepath.Join(dir, trust.TrustedRootName)
	trustedRoot, err := os.ReadFile(rootPath)
	if err != nil {
		return nil, fmt.Errorf("read client kit: %w", err)
	}
	config, err := os.ReadFile(filepath.Join(dir, trust.SigningConfigName))
	if err != nil {
		return nil, fmt.Errorf("read client kit: %w", err)
	}
	kit, err := NewKit(rootPath, trustedRoot, config)
	if err != nil {
		return nil, err
	}
	if kit.Trusted.issuers, err = loadIssuers(dir); err != nil {
		return nil, err
	}
	kit.TLS, err = LoadAuthorities(dir)
	return kit, err
}

// LoadAuthorities reads tls-ca.crt.pem of the client kit in dir: none if it has
// no such file, for its stack speaks plaintext or has a certificate of a public
// authority.
func LoadAuthorities(dir string) (Authorities, error) {
	path := filepath.Join(dir, trust.TLSPEMName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read client kit: %w", err)
	}
	return ParseAuthorities(path, data)
}

// HTTPClient trusts the kit's TLS authorities at the hosts of all services that
// the signing config names, and the system's everywhere.
func (k *Kit) HTTPClient() (*http.Client, error) {
	var urls []string
	for _, list := range [][]*prototrustroot.Service{
		k.config.GetCaUrls(), k.config.GetOidcUrls(), k.config.GetRekorTlogUrls(), k.config.GetTsaUrls(),
	} {
		for _, s := range list {
			urls = append(urls, s.GetUrl())
		}
	}
	return k.TLS.HTTPClient(urls...)
}

// NewKit builds a kit from the contents of its two files; name stands for the
// trust root in verdicts. Without a signing config (nil) the kit serves for
// verification only.
func NewKit(name string, trustedRoot, signingConfig []byte) (*Kit, error) {
	trusted, err := NewTrustRoot(name, trustedRoot)
	if err != nil {
		return nil, err
	}
	if signingConfig == nil {
		return &Kit{Trusted: trusted}, nil
	}
	config, err := root.NewSigningConfigProtobuf(signingConfig)
	if err != nil {
		return nil, fmt.Errorf("parse signing config: %w", err)
	}
	if config.GetMediaType() != root.SigningConfigMediaType02 {
		return nil, fmt.Errorf("parse signing config: media type %q is not supported", config.GetMediaType())
	}
	return &Kit{Trusted: trusted, config: config}, nil
}

// Services are the endpoints to sign with. All but the TSAs are base URLs; a
// TSA's is its full request URL.
type Services struct {
	CA    string
	OIDC  string
	TLogs []string // at least one, Rekor v1
	TSAs  []string // may be empty
}

// Services chooses endpoints from the signing config by the rules of Go clients
// (contract trust-material, "How clients choose"): the highest version that we
// speak, the newest service valid at now per operator, then the selector.
func (k *Kit) Services(now time.Time) (Services, error) {
	tlogs, tsas, err := k.witnesses(now)
	if err != nil {
		return Services{}, err
	}
	ca, err := root.SelectService(services(k.config.GetCaUrls()), []uint32{1}, now)
	if err != nil {
		return Services{}, fmt.Errorf("choose certificate authority from signing config: %w", err)
	}
	oidc, err := root.SelectService(services(k.config.GetOidcUrls()), []uint32{1}, now)
	if err != nil {
		return Services{}, fmt.Errorf("choose OIDC issuer from signing config: %w", err)
	}
	// Paths are appended to base URLs; an issuer's URL is its name, and a TSA's is
	// used as it is.
	return Services{CA: strings.TrimSuffix(ca.URL, "/"), OIDC: oidc.URL, TLogs: tlogs, TSAs: tsas}, nil
}

// witnesses chooses logs and timestamp authorities, all that a key pair needs.
func (k *Kit) witnesses(now time.Time) (tlogs, tsas []string, err error) {
	if k.config == nil {
		return nil, nil, errors.New("there is no signing config beside this trust root; without one it serves for verification only")
	}
	if len(k.config.GetRekorTlogUrls()) == 0 {
		return nil, nil, errors.New("choose transparency log from signing config: it names none, and unlogged signatures do not verify")
	}
	tlogs, err = choose(k.config.GetRekorTlogUrls(), k.config.GetRekorTlogConfig(), now)
	if err != nil {
		return nil, nil, fmt.Errorf("choose transparency log from signing config: %w", err)
	}
	tsas, err = choose(k.config.GetTsaUrls(), k.config.GetTsaConfig(), now)
	if err != nil {
		return nil, nil, fmt.Errorf("choose timestamp authority from signing config: %w", err)
	}
	for i := range tlogs {
		tlogs[i] = strings.TrimSuffix(tlogs[i], "/")
	}
	return tlogs, tsas, nil
}

// choose applies a selector; no services at all is no error.
func choose(from []*prototrustroot.Service, by *prototrustroot.ServiceConfiguration, now time.Time) ([]string, error) {
	if len(from) == 0 {
		return nil, nil
	}
	// GetSelector of a missing configuration is UNDEFINED, which is refused.
	config := root.ServiceConfiguration{Selector: by.GetSelector(), Count: by.GetCount()}
	chosen, err := root.SelectServices(services(from), config, []uint32{1}, now)
	if err != nil {
		return nil, err
	}
	urls := make([]string, len(chosen))
	for i, s := range chosen {
		urls[i] = s.URL
	}
	return urls, nil
}

func services(from []*prototrustroot.Service) []root.Service {
	out := make([]root.Service, len(from))
	for i, s := range from {
		out[i] = root.NewService(s)
	}
	return out
}
