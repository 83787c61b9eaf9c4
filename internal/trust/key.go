package trust

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/url"

	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"

	"sigstack/internal/pki"
)

// ID returns the log ID: SHA-256 of the DER SPKI, but for an Ed25519 key of a v2
// log, whose ID is bound to the log's name (contract rekor-v2 §5).
func (l Log) ID() ([sha256.Size]byte, error) {
	key, err := parseKey(l.PublicKey)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	ed, ok := key.(ed25519.PublicKey)
	if !ok || l.APIVersion < 2 {
		return pki.LogID(l.PublicKey), nil
	}
	host, err := hostOf(l.BaseURL)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return noteID(host, ed), nil
}

// noteID is the untruncated C2SP key ID of an Ed25519 key: the algorithm byte
// 0x01 stands between name, newline and key.
func noteID(name string, key ed25519.PublicKey) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(name+"\n\x01"), key...))
}

// parseKey decodes a DER SPKI of one of the two kinds that every client reads.
func parseKey(spki []byte) (any, error) {
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, fmt.Errorf("parse public key: %w", err)
	}
	switch k := key.(type) {
	case ed25519.PublicKey:
		return k, nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return k, nil
		}
	}
	return nil, fmt.Errorf("public key is neither ECDSA P-256 nor Ed25519")
}

func keyDetails(spki []byte) (commonpb.PublicKeyDetails, error) {
	key, err := parseKey(spki)
	if err != nil {
		return commonpb.PublicKeyDetails_PUBLIC_KEY_DETAILS_UNSPECIFIED, err
	}
	if _, ok := key.(ed25519.PublicKey); ok {
		return commonpb.PublicKeyDetails_PKIX_ED25519, nil
	}
	return commonpb.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256, nil
}

// hostOf checks that raw is an absolute http(s) URL as clients need it, without
// trailing slash since some concatenate, and returns its host without the port.
func hostOf(raw string) (string, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "", fmt.Errorf("parse URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("URL %q: scheme is not http or https", raw)
	case u.Hostname() == "":
		return "", fmt.Errorf("URL %q: no host", raw)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", fmt.Errorf("URL %q: user, query or fragment", raw)
	case raw[len(raw)-1] == '/':
		return "", fmt.Errorf("URL %q: trailing slash", raw)
	}
	return u.Hostname(), nil
}
