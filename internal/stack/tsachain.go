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
// that no process that serves reads. An intermediate that has less than half its life
// left is renewed by the root, which is there too: the new certificate ends with it.
func IssueTSAChain(next ChainKey, offline string, passphrase []byte, devices keys.Devices, now time.Time) ([]*x509.Certificate, error) {
	present, err := pki.ParseCertificatesPEM(next.Chain)
	if err != nil {
		return nil, fmt.Errorf("read the present chain: %w", err)
	}
	if len(present) != 3 {
		return nil, fmt.Errorf("the present chain has %d certificates, not a timestamp certificate, its intermediate and a root: name the chain that the authority which issued it has issued next", len(present))
	}
	inter, root := present[1], present[2]
	store := keys.Open(offline, passphrase, keys.WithDevices(devices))
	interKey, err := offlineKey(store, keyTSAInter)
	if err != nil {
		return nil, err
	}
	if inter.NotAfter.Before(now.Add(pki.IntermediateLifetime / 2)) {
		rootKey, err := offlineKey(store, keyTSARoot)
		if err != nil {
			return nil, err
		}
		if inter, err = pki.NewIntermediate(root, rootKey, interKey.Public(), inter.Subject, x509.ExtKeyUsageTimeStamping, now.Add(-backdate)); err != nil {
			return nil, fmt.Errorf("renew the intermediate: %w", err)
		}
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
	return []*x509.Certificate{leaf, inter, root}, nil
}

// offlineKey loads a root key.
func offlineKey(store *keys.Store, name string) (keys.Key, error) {
	key, err := store.Load(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; name the directory that offline/ was moved to, or the chain that another authority issued", err)
	}
	return key, err
}
