package stack

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/client"
	"github.com/google/certificate-transparency-go/jsonclient"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/signing"
	"sigstack/internal/trust"
)

// leaves hashes what is read of a tree.
type leaves struct{ *compact.Range }

func newLeaves() leaves {
	return leaves{(&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)}
}

func (l leaves) add(leaf []byte) error { return l.Append(rfc6962.DefaultHasher.HashLeaf(leaf), nil) }

// isRoot demands that what was read is the whole tree of that root.
func (l leaves) isRoot(root []byte) error {
	got, err := l.GetRootHash(nil)
	if l.End() == 0 {
		got = rfc6962.DefaultHasher.EmptyRoot()
	}
	if err != nil || string(got) != string(root) {
		return errors.Join(fmt.Errorf("the %d entries that it gave have the root %x, it has signed %x", l.End(), got, root), err)
	}
	return nil
}

// certificates reads a CT log.
func (v Survey) certificates(ctx context.Context, log trust.KnownLog, show func(Signed) error) (read uint64, err error) {
	web, err := v.TLS.HTTPClient(log.BaseURL)
	if err != nil {
		return 0, err
	}
	reader, err := client.New(log.BaseURL, web, jsonclient.Options{PublicKeyDER: log.PublicKey, UserAgent: "sigstack"})
	if err != nil {
		return 0, err
	}
	head, err := reader.GetSTH(ctx) // its signature is verified
	if err != nil {
		return 0, unreachable(log.BaseURL, err)
	}
	tree := newLeaves()
	for tree.End() < head.TreeSize {
		got, err := reader.GetRawEntries(ctx, int64(tree.End()), int64(head.TreeSize-1))
		if err != nil {
			return tree.End(), unreachable(log.BaseURL, err)
		}
		if len(got.Entries) == 0 {
			return tree.End(), fmt.Errorf("it gave no entry %d of %d", tree.End(), head.TreeSize)
		}
		for _, e := range got.Entries {
			index := tree.End()
			if err := tree.add(e.LeafInput); err != nil {
				return index, err
			}
			s, ok, err := v.certificate(index, e)
			if err != nil {
				return index, fmt.Errorf("entry %d: %w", index, err)
			}
			if s.LogID = hex.EncodeToString(log.ID[:]); ok {
				if err := show(s); err != nil {
					return index, err
				}
			}
		}
	}
	return tree.End(), tree.isRoot(head.SHA256RootHash[:])
}

// unreachable tells a log that cannot be asked from one that lies.
func unreachable(url string, err error) error {
	var answer jsonclient.RspError
	if errors.As(err, &answer) && answer.StatusCode == http.StatusOK {
		return err
	}
	return signing.Unreachable("CT log", url, err)
}

// certificate tells of one in a CT log if the key has to do with it.
func (v Survey) certificate(index uint64, e ct.LeafEntry) (s Signed, ok bool, err error) {
	entry, err := ct.LogEntryFromLeaf(int64(index), &e)
	if entry == nil {
		return s, false, err
	}
	at := ct.TimestampToTime(entry.Leaf.TimestampedEntry.Timestamp).UTC()
	s = Signed{What: "certificate", Index: index, At: at, Trust: v.verdict(at)}
	cert := entry.X509Cert
	issuer := [sha256.Size]byte{}
	if entry.Precert != nil {
		cert, issuer = entry.Precert.TBSCertificate, entry.Precert.IssuerKeyHash
	} else if len(entry.Chain) > 0 {
		parent, err := x509.ParseCertificate(entry.Chain[0].Data)
		if err != nil {
			return s, false, err
		}
		issuer = sha256.Sum256(parent.RawSubjectPublicKeyInfo)
	}
	if cert == nil {
		return s, false, errors.New("it has no certificate")
	}
	s.Serial = fmt.Sprintf("%x", cert.SerialNumber)
	s.Subject = strings.Join(append(append([]string{}, cert.EmailAddresses...), namesOf(cert.URIs)...), " ")
	return s, v.Kind == CompromisedCTLog || hex.EncodeToString(issuer[:]) == v.Key, nil
}

func namesOf[U fmt.Stringer](list []U) (out []string) {
	for _, u := range list {
		out = append(out, u.String())
	}
	return out
}
