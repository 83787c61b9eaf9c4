package signing

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"

	"sigstack/internal/pki"
)

// BundleSuffix, SignatureSuffix and CertificateSuffix are appended to a file's
// name to name its sidecars (contract release-artifacts §A).
const (
	BundleSuffix      = ".sigstore.json"
	SignatureSuffix   = ".sig"
	CertificateSuffix = ".cert"
)

// MaxBundle is the most bytes a bundle may have. Message signatures take about
// 10 KB; attestations carry their payload.
const MaxBundle = 32 << 20

// Bundle is a parsed Sigstore bundle of version 0.1 to 0.3. Parsing checks its
// shape only; trust nothing in it before Verify or VerifyStatement.
type Bundle struct {
	entity      *entity
	cert        *x509.Certificate // nil: signed with a bare key
	leafOnly    bool              // it brings no certificate but that
	promiseOnly bool              // its age or storage has no room for inclusion proofs
	envelope    []byte            // of an attestation by tag: its JSON, which timestamps are over; nil otherwise
}

// entity is a bundle whose log entries are parsed once: that verifies the
// signatures in them.
type entity struct {
	*bundle.Bundle
	entries []*tlog.Entry
	leaf    *x509.Certificate // the only one; nil: there are others, or none
}

// TlogEntries returns the parsed entries.
func (e *entity) TlogEntries() ([]*tlog.Entry, error) { return e.entries, nil }

// VerificationContent returns the parsed certificate, which upstream would parse anew each
// time: a copy, since upstream's verifier writes to it.
func (e *entity) VerificationContent() (verify.VerificationContent, error) {
	if e.leaf == nil {
		return e.Bundle.VerificationContent()
	}
	leaf := *e.leaf
	return bundle.NewCertificate(&leaf), nil
}

// ParseBundle parses a JSON bundle. The error is a *RefusedError at CheckBundle, at
// CheckInclusion for a proof without checkpoint, or at CheckEntry for a log entry
// that contradicts itself: one whose signature is not by its key over its digest
// is already refused here.
func ParseBundle(data []byte) (*Bundle, error) {
	if len(data) > MaxBundle {
		return nil, refuse(CheckBundle, fmt.Errorf("%d bytes is more than %d", len(data), MaxBundle))
	}
	var pb protobundle.Bundle
	if err := protojson.Unmarshal(data, &pb); err != nil {
		if isCosignsOwn(data) {
			err = errors.New("it is in the format that cosign had before Sigstore bundles; sign with --new-bundle-format")
		}
		return nil, refuse(CheckBundle, fmt.Errorf("parse bundle: %w", err))
	}
	return newBundle(&pb)
}

// isCosignsOwn tells the bundle that cosign 2 writes by default.
func isCosignsOwn(data []byte) bool {
	var own struct {
		Signature string `json:"base64Signature"`
	}
	return json.Unmarshal(data, &own) == nil && own.Signature != ""
}

func newBundle(pb *protobundle.Bundle) (*Bundle, error) {
	if err := checkShape(pb); err != nil {
		return nil, refuse(CheckBundle, err)
	}
	entries, err := parseEntries(pb.GetVerificationMaterial().GetTlogEntries())
	if err != nil {
		return nil, err
	}
	b, err := bundle.NewBundle(withoutEntries(pb))
	if err != nil {
		return nil, refuse(CheckBundle, fmt.Errorf("read bundle: %w", err))
	}
	b.Bundle = pb
	if _, err := b.SignatureContent(); err != nil {
		return nil, refuse(CheckBundle, fmt.Errorf("read signature: %w", err))
	}
	content, err := b.VerificationContent()
	if err != nil {
		return nil, refuse(CheckBundle, fmt.Errorf("read certificate: %w", err))
	}
	e := &entity{Bundle: b, entries: entries}
	leafOnly := len(content.Intermediates()) == 0
	if leafOnly {
		e.leaf = content.Certificate()
	}
	return &Bundle{
		entity: e, cert: content.Certificate(), leafOnly: leafOnly,
		promiseOnly: pb.GetMediaType() == bundleMediaTypeV01,
	}, nil
}

// withoutEntries returns pb without its log entries, which upstream would parse
// again, and of which logEntries demands more.
func withoutEntries(pb *protobundle.Bundle) *protobundle.Bundle {
	material := &protobundle.VerificationMaterial{Content: pb.GetVerificationMaterial().GetContent()}
	return &protobundle.Bundle{MediaType: pb.GetMediaType(), VerificationMaterial: material, Content: pb.GetContent()}
}

// newBundleOfTag builds the bundle of a signature stored by tag, which carries a
// signed entry timestamp and no inclusion proof: what bundles of version 0.1
// have.
func newBundleOfTag(e evidence) (*Bundle, error) {
	pb := e.proto(bundleMediaTypeV01)
	if cert := pb.GetVerificationMaterial().GetCertificate(); cert != nil {
		pb.VerificationMaterial.Content = &protobundle.VerificationMaterial_X509CertificateChain{
			X509CertificateChain: &protocommon.X509CertificateChain{Certificates: []*protocommon.X509Certificate{cert}},
		}
	}
	b, err := newBundle(pb)
	if err != nil {
		return nil, err
	}
	b.envelope = e.envelope
	return b, nil
}

// Certificate returns the leaf certificate, nil if the bundle has none.
func (b *Bundle) Certificate() *x509.Certificate { return b.cert }

// HoldsStatement reports whether the bundle holds an envelope, for
// VerifyStatement, rather than a message signature, for Verify.
func (b *Bundle) HoldsStatement() bool { return b.entity.GetDsseEnvelope() != nil }

// Signature returns the raw signature of a message signature, nil of an envelope.
func (b *Bundle) Signature() []byte { return b.entity.GetMessageSignature().GetSignature() }

// rawSignature returns the signature of either kind of content.
func (b *Bundle) rawSignature() []byte {
	if sigs := b.entity.GetDsseEnvelope().GetSignatures(); len(sigs) > 0 {
		return sigs[0].GetSig()
	}
	return b.Signature()
}

// Digest returns the digest that a message signature claims to be over and the
// name of its algorithm ("sha256"); for an envelope, whose statement names its
// digests, it returns nil and "sha256".
func (b *Bundle) Digest() (digest []byte, algorithm string) {
	message := b.entity.GetMessageSignature()
	if message == nil {
		return nil, "sha256"
	}
	d := message.GetMessageDigest()
	return d.GetDigest(), hashNames[d.GetAlgorithm()]
}

// EncodeSignature renders the content of a .sig file: base64 of the signature.
func EncodeSignature(sig []byte) []byte {
	return []byte(base64.StdEncoding.EncodeToString(sig))
}

// EncodeCertificate renders the content of a .cert file: base64 of the PEM
// certificate, doubly encoded as upstream's release tools do it.
func EncodeCertificate(cert *x509.Certificate) []byte {
	text := pki.CertificatesPEM([]*x509.Certificate{cert})
	return []byte(base64.StdEncoding.EncodeToString(text))
}

// DecodeSignature reads the content of a .sig file.
func DecodeSignature(data []byte) ([]byte, error) {
	sig, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data)))
	if err != nil {
		return nil, fmt.Errorf("decode signature: %w", err)
	}
	if len(sig) == 0 {
		return nil, errors.New("decode signature: it is empty")
	}
	return sig, nil
}

// DecodeCertificate reads the content of a .cert file: base64 of PEM, or PEM.
func DecodeCertificate(data []byte) (*x509.Certificate, error) {
	text := bytes.TrimSpace(data)
	if !bytes.HasPrefix(text, []byte("-----BEGIN")) {
		decoded, err := base64.StdEncoding.DecodeString(string(text))
		if err != nil {
			return nil, fmt.Errorf("decode certificate: %w", err)
		}
		text = decoded
	}
	certs, err := pki.ParseCertificatesPEM(text)
	if err != nil {
		return nil, fmt.Errorf("decode certificate: %w", err)
	}
	if len(certs) != 1 {
		return nil, fmt.Errorf("decode certificate: got %d certificates, want 1", len(certs))
	}
	return certs[0], nil
}

// CheckSidecars checks that the contents of a .sig and a .cert file are the
// signature and the certificate of bundle b. The error is a *RefusedError at
// CheckSidecar.
func CheckSidecars(b *Bundle, sig, cert []byte) error {
	gotSig, err := DecodeSignature(sig)
	if err != nil {
		return refuse(CheckSidecar, err)
	}
	if !bytes.Equal(gotSig, b.Signature()) {
		return refuse(CheckSidecar, errors.New("the signature file holds another signature than the bundle"))
	}
	if b.Certificate() != nil && bytes.Equal(cert, EncodeCertificate(b.Certificate())) {
		return nil // as we write it: it need not be parsed
	}
	gotCert, err := DecodeCertificate(cert)
	if err != nil {
		return refuse(CheckSidecar, err)
	}
	if b.Certificate() == nil || !gotCert.Equal(b.Certificate()) {
		return refuse(CheckSidecar, errors.New("the certificate file holds another certificate than the bundle"))
	}
	return nil
}

func refuse(check Check, err error) error { return &RefusedError{Check: check, Err: err} }
