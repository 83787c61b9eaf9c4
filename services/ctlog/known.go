package ctlog

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/x509"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/pki"
)

// A CA submits one precertificate after the other with the same certificates
// above them. What ctfe has found of those once, it would find again: how they
// chain to a root, and what of them goes into the entry. Only what is new is
// looked at here: the precertificate, and whether its issuer signed it. Whatever is
// not as plain as that is left to ctfe, which alone refuses.

// maxKnown is how many chains are kept in mind: a CA has two while it changes its
// own.
const maxKnown = 8

// known are the chains above a precertificate that ctfe has taken.
type known struct {
	mu   sync.Mutex
	list []*issuing // guarded by mu: the newest last; items never change
}

// issuing is one such chain.
type issuing struct {
	chain   [][]byte // as submitted: DER, the issuer first
	issuer  *x509.Certificate
	keyHash [sha256.Size]byte // of the issuer's key
	encoded []byte            // certificate_chain of a PrecertChainEntry (RFC 6962 §3.1)
}

func (k *known) find(chain [][]byte) *issuing {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range k.list {
		if slices.EqualFunc(i.chain, chain, bytes.Equal) {
			return i
		}
	}
	return nil
}

// queuedKey is the context key under which a submission goes with a *queued, which
// the backend fills in.
type queuedKey struct{}

// queued is the leaf that ctfe made of a submission.
type queued struct{ value, extra []byte }

// learn keeps the chain above chain[0] in mind, which ctfe has just taken. It does
// not if an issuer of precertificates only is in it (RFC 6962 §3.1): the entry is
// then made otherwise.
func (k *known) learn(chain [][]byte, seen *queued) {
	if len(chain) < 2 || len(seen.value) < leafHeader+sha256.Size {
		return
	}
	issuer, err := x509.ParseCertificate(chain[1])
	if err != nil {
		return
	}
	i := &issuing{issuer: issuer, keyHash: sha256.Sum256(issuer.RawSubjectPublicKeyInfo)}
	if !bytes.Equal(seen.value[leafHeader:leafHeader+sha256.Size], i.keyHash[:]) {
		return
	}
	var cert cryptobyte.String
	rest := cryptobyte.String(seen.extra)
	if !rest.ReadUint24LengthPrefixed(&cert) || !bytes.Equal(cert, chain[0]) {
		return
	}
	i.encoded = bytes.Clone(rest)
	for _, der := range chain[1:] {
		i.chain = append(i.chain, bytes.Clone(der))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if slices.ContainsFunc(k.list, func(have *issuing) bool { return slices.EqualFunc(have.chain, i.chain, bytes.Equal) }) {
		return // by another submission at the same time
	}
	if len(k.list) == maxKnown {
		k.list = k.list[1:]
	}
	k.list = append(slices.Clone(k.list), i)
}

// recognized is a precertificate by a known issuer.
type recognized struct {
	der, tbs []byte // tbs is without the poison
	by       *issuing
}

// recognize reports whether ctfe would take the chain, which it does for sure when
// ok.
func (s *Service) recognize(in *instance, chain [][]byte) (_ recognized, ok bool) {
	if len(chain) < 2 {
		return recognized{}, false
	}
	by := in.known.find(chain[1:])
	if by == nil {
		return recognized{}, false
	}
	pre, err := x509.ParseCertificate(chain[0])
	if err != nil || !bytes.Equal(pre.RawIssuer, by.issuer.RawSubject) || !s.Takes(pre.NotAfter) ||
		!slices.Contains(pre.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) {
		return recognized{}, false
	}
	// By that ID ctfe looks for the issuer, before it looks by the name.
	if len(pre.AuthorityKeyId) > 0 && !bytes.Equal(pre.AuthorityKeyId, by.issuer.SubjectKeyId) {
		return recognized{}, false
	}
	tbs, err := withoutPoison(pre.RawTBSCertificate)
	if err != nil || by.issuer.CheckSignature(pre.SignatureAlgorithm, pre.RawTBSCertificate, pre.Signature) != nil {
		return recognized{}, false
	}
	return recognized{chain[0], tbs, by}, true
}

// leafHeader is how many bytes of a leaf lie before the issuer's key hash: version,
// leaf type, timestamp, entry type (RFC 6962 §3.4).
const leafHeader = 1 + 1 + 8 + 2

// leaf is the entry of a recognized precertificate, timestamped in milliseconds.
func (r recognized) leaf(timestamp uint64) (merkle.Leaf, error) {
	value := cryptobyte.NewBuilder(make([]byte, 0, leafHeader+sha256.Size+len(r.tbs)+5))
	value.AddUint8(uint8(ct.V1))
	value.AddUint8(uint8(ct.TimestampedEntryLeafType))
	value.AddUint64(timestamp)
	value.AddUint16(uint16(ct.PrecertLogEntryType))
	value.AddBytes(r.by.keyHash[:])
	value.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.tbs) })
	value.AddUint16(0) // no extensions
	extra := cryptobyte.NewBuilder(make([]byte, 0, 3+len(r.der)+len(r.by.encoded)))
	extra.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.der) })
	extra.AddBytes(r.by.encoded)
	v, err1 := value.Bytes()
	e, err2 := extra.Bytes()
	return merkle.Leaf{Value: v, Extra: e, Identity: sha256.Sum256(r.der)}, errors.Join(err1, err2)
}

// addRecognized logs a precertificate as ctfe does, and answers as it does.
func (s *Service) addRecognized(ctx context.Context, r recognized) ([]byte, error) {
	leaf, err := r.leaf(uint64(s.cfg.Now().UnixMilli()))
	if err != nil {
		return nil, refused(fmt.Errorf("encode entry: %w", err))
	}
	added, err := s.backend.add(ctx, leaf)
	if err != nil {
		kind := fault.KindOf(err)
		if kind == fault.Forbidden {
			return nil, err
		}
		err = s.backend.status(ctx, "add leaf", err)
		if kind == fault.Invalid || kind == fault.TooLarge {
			return nil, refused(err)
		}
		return nil, unavailable(err)
	}
	answer, err := s.timestamp(added.Entry.Leaf.Value)
	if err != nil {
		return nil, unavailable(err)
	}
	return answer, nil
}

// timestamp signs what an SCT signs, which is the leaf byte for byte: version, type
// (0 for timestamped entries and certificate timestamps), timestamp, entry,
// extensions (RFC 6962 §3.2, §3.4).
func (s *Service) timestamp(leaf []byte) ([]byte, error) {
	if len(leaf) < leafHeader+2 || leaf[0] != uint8(ct.V1) || leaf[1] != uint8(ct.TimestampedEntryLeafType) || !bytes.HasSuffix(leaf, []byte{0, 0}) {
		return nil, errors.New("stored entry is not a timestamped one without extensions")
	}
	sum := sha256.Sum256(leaf)
	signature, err := s.cfg.Signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign timestamp: %w", err)
	}
	var b cryptobyte.Builder
	b.AddBytes([]byte{4, 3}) // SHA-256, ECDSA (RFC 5246 §7.4.1.4.1)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(signature) })
	signed, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode signature: %w", err)
	}
	return json.Marshal(ct.AddChainResponse{
		SCTVersion: ct.V1, ID: s.id[:], Timestamp: binary.BigEndian.Uint64(leaf[2:]), Signature: signed,
	})
}

// withoutPoison returns a TBSCertificate without its one poison, which must be
// critical and NULL (RFC 6962 §3.1); all else stays byte for byte.
func withoutPoison(der []byte) ([]byte, error) {
	tag := cbasn1.Tag(3).ContextSpecific().Constructed()
	input := cryptobyte.String(der)
	var tbs, element, wrapped, extensions cryptobyte.String
	if !input.ReadASN1(&tbs, cbasn1.SEQUENCE) || !input.Empty() {
		return nil, errors.New("not a TBSCertificate")
	}
	var head []byte
	for !tbs.PeekASN1Tag(tag) {
		var kind cbasn1.Tag
		if !tbs.ReadAnyASN1Element(&element, &kind) {
			return nil, errors.New("no extensions")
		}
		head = append(head, element...)
	}
	if !tbs.ReadASN1(&wrapped, tag) || !tbs.Empty() || !wrapped.ReadASN1(&extensions, cbasn1.SEQUENCE) || !wrapped.Empty() {
		return nil, errors.New("extensions are malformed")
	}
	var kept []byte
	poisons := 0
	for !extensions.Empty() {
		if !extensions.ReadASN1Element(&element, cbasn1.SEQUENCE) {
			return nil, errors.New("an extension is malformed")
		}
		if is, err := isPoison(element); err != nil {
			return nil, err
		} else if is {
			poisons++
			continue
		}
		kept = append(kept, element...)
	}
	if poisons != 1 || len(kept) == 0 {
		return nil, fmt.Errorf("%d poisons, and %d bytes of other extensions", poisons, len(kept))
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(head)
		b.AddASN1(tag, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(kept) })
		})
	})
	return b.Bytes()
}

// isPoison recognizes the extension; a malformed one is an error.
func isPoison(element cryptobyte.String) (bool, error) {
	var ext, value cryptobyte.String
	var id asn1.ObjectIdentifier
	if !element.ReadASN1(&ext, cbasn1.SEQUENCE) || !ext.ReadASN1ObjectIdentifier(&id) {
		return false, errors.New("an extension is malformed")
	}
	if !id.Equal(pki.OIDPoison) {
		return false, nil
	}
	var critical bool
	if !ext.ReadASN1Boolean(&critical) || !critical || !ext.ReadASN1(&value, cbasn1.OCTET_STRING) || !ext.Empty() ||
		!bytes.Equal(value, asn1.NullBytes) {
		return false, errors.New("the poison is malformed")
	}
	return true, nil
}
