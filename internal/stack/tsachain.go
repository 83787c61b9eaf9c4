package stack

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"time"

	"sigstack/internal/keys"
	"sigstack/internal/pki"
)

// newTSA is the timestamp authority.
func newTSA(s *Stack) *authority {
	return &authority{
		s: s, of: TSA,
		uri: func() string { return s.services.tsa.Trust().URI },
		present: func() []*x509.Certificate {
			if s.services.tsa == nil {
				return nil
			}
			return s.services.tsa.Trust().Chain
		},
		check: func(certs []*x509.Certificate, key keys.Key) error { return s.services.tsa.Check(certs, key) },
		known: func() error { return nil }, // nobody but clients
	}
}

// numberedTSA is the end of a name that IssueTSAChain has given.
var numberedTSA = regexp.MustCompile(` ` + keyTSA + `-\d+$`)

// IssueTSAChain certifies the key of the next chain of the timestamp authority by the
// intermediate of the present one, whose key is among the root keys, in a directory
// that no process that serves reads. The new certificate ends no later than that of
// the intermediate.
func IssueTSAChain(next ChainKey, offline string, passphrase []byte, devices keys.Devices, now time.Time) ([]*x509.Certificate, error) {
	present, err := pki.ParseCertificatesPEM(next.Chain)
	if err != nil {
		return nil, fmt.Errorf("read the present chain: %w", err)
	}
	if len(present) < 2 {
		return nil, errors.New("read the present chain: it has no intermediate")
	}
	inter := present[1]
	interKey, err := keys.Open(offline, passphrase, keys.WithDevices(devices)).Load(keyTSAInter)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; name the directory that offline/ was moved to, or the chain that another authority issued", err)
	}
	if err != nil {
		return nil, err
	}
	public, err := x509.ParsePKIXPublicKey(next.SPKI)
	if err != nil {
		return nil, fmt.Errorf("read the key of the next chain: %w", err)
	}
	name := present[0].Subject
	name.CommonName = numberedTSA.ReplaceAllString(name.CommonName, "") + " " + next.Name
	leaf, err := pki.NewTimestampLeaf(inter, interKey, public, name, now.Add(-backdate))
	if err != nil {
		return nil, fmt.Errorf("certify the key of the next chain: %w", err)
	}
	return append([]*x509.Certificate{leaf}, present[1:]...), nil
}
