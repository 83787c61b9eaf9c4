package stack

import (
	"crypto/x509"
	"fmt"
	"regexp"
	"time"

	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/services/ca"
)

// newCA is the certificate authority.
func newCA(s *Stack) *authority {
	return &authority{
		s: s, of: CA,
		uri: func() string { return s.conf.URL },
		present: func() []*x509.Certificate {
			if s.services.ca == nil {
				return nil
			}
			return s.services.ca.Trust().Chain
		},
		check: func(certs []*x509.Certificate, key keys.Key) error {
			return s.services.ca.Check(ca.Settings{Chain: certs, Signer: key, Issuers: s.services.ca.Issuers()})
		},
		known: s.setCTRoots, // before it issues anything, the CT log takes it
	}
}

// numbered is the end of a name that IssueChain has given.
var numbered = regexp.MustCompile(` ` + keyCA + `-\d+$`)

// IssueChain certifies the key of the next chain by the root of the present one, whose
// key is among the root keys, in a directory that no process that serves reads.
func IssueChain(next ChainKey, offline string, passphrase []byte, devices keys.Devices, now time.Time) ([]*x509.Certificate, error) {
	present, err := pki.ParseCertificatesPEM(next.Chain)
	if err != nil {
		return nil, fmt.Errorf("read the present chain: %w", err)
	}
	root := present[len(present)-1]
	rootKey, err := offlineKey(keys.Open(offline, passphrase, keys.WithDevices(devices)), keyCARoot)
	if err != nil {
		return nil, err
	}
	public, err := x509.ParsePKIXPublicKey(next.SPKI)
	if err != nil {
		return nil, fmt.Errorf("read the key of the next chain: %w", err)
	}
	name := present[0].Subject
	name.CommonName = numbered.ReplaceAllString(name.CommonName, "") + " " + next.Name
	inter, err := pki.NewIntermediate(root, rootKey, public, name, x509.ExtKeyUsageCodeSigning, now.Add(-backdate))
	if err != nil {
		return nil, fmt.Errorf("certify the key of the next chain: %w", err)
	}
	return []*x509.Certificate{inter, root}, nil
}
