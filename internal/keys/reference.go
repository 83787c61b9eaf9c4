package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"sigstack/internal/keys/kms"
	"sigstack/internal/keys/token"
	"sigstack/internal/pki"
)

// referenceVersion is that of the schema of NAME.ref.
const referenceVersion = 1

// reference is what NAME.ref says of a key that lives elsewhere.
type reference struct {
	uri     string
	public  *ecdsa.PublicKey // what the key at uri must have: the pin
	created time.Time        // UTC, whole seconds
}

// referenceFile is its form as YAML.
type referenceFile struct {
	Version   int       `yaml:"version"`
	URI       string    `yaml:"uri"`
	PublicKey string    `yaml:"public_key"`
	Created   time.Time `yaml:"created"`
}

// referenceHead tells who opens the file what it is.
const referenceHead = "# A key that lives elsewhere. It is used only as long as its public half is this one.\n"

// encode returns the one form in which r is written.
func (r reference) encode() ([]byte, error) {
	spki, err := pki.MarshalPublicKey(r.public)
	if err != nil {
		return nil, err
	}
	data, err := yaml.Marshal(referenceFile{referenceVersion, r.uri, string(pki.PublicKeyPEM(spki)), r.created})
	if err != nil {
		return nil, fmt.Errorf("encode reference: %w", err)
	}
	return append([]byte(referenceHead), data...), nil
}

// decodeReference is the inverse of encode. It takes nothing that encode would
// not write, but for comments and layout.
func decodeReference(data []byte) (reference, error) {
	var f referenceFile
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return reference{}, fmt.Errorf("read reference: %w", err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return reference{}, errors.New("read reference: file holds more than one YAML document")
	}
	if f.Version != referenceVersion {
		return reference{}, fmt.Errorf("read reference: version is %d, want %d", f.Version, referenceVersion)
	}
	if err := CheckURI(f.URI); err != nil {
		return reference{}, err
	}
	public, err := parsePin([]byte(f.PublicKey))
	if err != nil {
		return reference{}, fmt.Errorf("read reference: public_key: %w", err)
	}
	if year := f.Created.Year(); f.Created.IsZero() || year < 1970 || year > 9999 {
		return reference{}, errors.New("read reference: created: missing or out of range")
	}
	return reference{f.URI, public, f.Created.UTC().Truncate(time.Second)}, nil
}

func parsePin(data []byte) (*ecdsa.PublicKey, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(block.Headers) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("want one PEM block of type PUBLIC KEY")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	public, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("key of type %T: one that lives elsewhere is ECDSA", key)
	}
	_, err = AlgorithmOf(public)
	return public, err
}

// CheckURI refuses what no key can live at: pkcs11: URIs (RFC 7512) with a PIN in
// them or without token, key or library, and what is not SCHEME://KEY.
func CheckURI(uri string) error {
	if strings.HasPrefix(uri, token.Scheme) {
		if _, err := token.ParseURI(uri); err != nil {
			return fmt.Errorf("key URI: %w", err) // which may not be quoted: it may hold a PIN
		}
		return nil
	}
	if err := kms.CheckURI(uri); err != nil {
		return fmt.Errorf("key URI: %w; or pkcs11:token=LABEL;object=LABEL?module-path=/LIBRARY.so", err)
	}
	return nil
}
