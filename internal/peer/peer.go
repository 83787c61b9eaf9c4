// Package peer connects the processes of one stack: HTTP/2 over TLS 1.3 in which
// both sides prove a key that the other has pinned, and nothing else counts: no
// authority, no name, no expiry. It says who calls and passes requests on; which
// process may ask what is the caller's to say.
package peer

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Pin is the SHA-256 of a public key (DER SubjectPublicKeyInfo).
type Pin [sha256.Size]byte

// PinOf returns the pin of a public key.
func PinOf(spki []byte) Pin { return sha256.Sum256(spki) }

// ParsePin reads the form that String writes, 64 hex digits.
func ParsePin(s string) (Pin, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(Pin{}) {
		return Pin{}, fmt.Errorf("pin %q is not 64 hex digits", s)
	}
	return Pin(b), nil
}

// String returns the pin in hex.
func (p Pin) String() string { return hex.EncodeToString(p[:]) }

func (p Pin) equal(q Pin) bool { return subtle.ConstantTimeCompare(p[:], q[:]) == 1 }

// Identity is what a process proves to others: a key, in a certificate that only
// carries it.
type Identity struct{ cert tls.Certificate }

// NewIdentity makes the certificate. Nobody reads anything of it but the key.
func NewIdentity(key crypto.Signer) (Identity, error) {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		// RFC 5280 §4.1.2.5: no well-defined expiry.
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return Identity{}, fmt.Errorf("make peer certificate: %w", err)
	}
	return Identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}, nil
}

// errStranger is why a handshake fails.
var errStranger = errors.New("peer: the other side's key is not pinned")

// pinOf returns the pin of the key that the other side has proven.
func pinOf(state tls.ConnectionState) (Pin, error) {
	if len(state.PeerCertificates) != 1 {
		return Pin{}, errStranger
	}
	return PinOf(state.PeerCertificates[0].RawSubjectPublicKeyInfo), nil
}

// config returns what both sides have in common. known says whose keys count.
func (id Identity) config(known func(Pin) bool) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{id.cert},
		NextProtos:   []string{"h2"},
		// Each connection proves both keys anew.
		SessionTicketsDisabled: true,
		// Called for every handshake, after the other side has proven the key of
		// its certificate (RFC 8446 §4.4.3).
		VerifyConnection: func(state tls.ConnectionState) error {
			pin, err := pinOf(state)
			if err != nil {
				return err
			}
			if !known(pin) {
				return errStranger
			}
			return nil
		},
	}
}

// ServerConfig accepts the given callers alone.
func (id Identity) ServerConfig(callers []Caller) *tls.Config {
	return id.serverConfig(func(p Pin) bool { _, ok := find(callers, p); return ok })
}

// clientConfig accepts the one server with the given key.
func (id Identity) clientConfig(pin Pin) *tls.Config {
	c := id.config(pin.equal)
	c.InsecureSkipVerify = true // VerifyConnection compares the key with the pin, which is stricter than a chain and a name
	return c
}
