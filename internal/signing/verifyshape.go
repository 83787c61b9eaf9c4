package signing

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
)

// The media types of bundles that are read; version 0.3 has two.
const (
	bundleMediaTypeV01    = "application/vnd.dev.sigstore.bundle+json;version=0.1"
	bundleMediaTypeV02    = "application/vnd.dev.sigstore.bundle+json;version=0.2"
	bundleMediaTypeOldV03 = "application/vnd.dev.sigstore.bundle+json;version=0.3"
)

// checkShape refuses what upstream's parser lets pass: other versions, parts that
// a version does not have or that are empty, and digests of the wrong length.
func checkShape(pb *protobundle.Bundle) error {
	material := pb.GetVerificationMaterial()
	chain := material.GetX509CertificateChain()
	switch pb.GetMediaType() {
	case bundleMediaTypeV01, bundleMediaTypeV02:
		if material.GetCertificate() != nil {
			return errors.New("its version has a certificate chain in place of a certificate")
		}
	case bundleMediaType, bundleMediaTypeOldV03:
		if chain != nil {
			return errors.New("its version has a certificate in place of a chain")
		}
	default:
		return fmt.Errorf("media type %q is not known", pb.GetMediaType())
	}
	if chain != nil {
		if err := checkChain(chain.GetCertificates(), pb.GetMediaType() == bundleMediaTypeV01); err != nil {
			return err
		}
	}
	return checkContent(pb)
}

// checkChain checks the certificates of an old version: at least one, and no
// trust anchor among them, except where clients of version 0.1 wrote one; it is not
// trusted there either. What follows the leaf is at most a way to a root that is.
func checkChain(chain []*protocommon.X509Certificate, roots bool) error {
	if len(chain) == 0 {
		return errors.New("its certificate chain is empty")
	}
	for _, c := range chain {
		cert, err := x509.ParseCertificate(c.GetRawBytes())
		if err != nil {
			return fmt.Errorf("read certificate chain: %w", err)
		}
		if !roots && bytes.Equal(cert.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(cert) == nil {
			return errors.New("its certificate chain holds a root, which is not for a bundle to bring")
		}
	}
	return nil
}

func checkContent(pb *protobundle.Bundle) error {
	if envelope := pb.GetDsseEnvelope(); envelope != nil {
		sigs := envelope.GetSignatures()
		if len(envelope.GetPayload()) == 0 || slices.ContainsFunc(sigs, func(s *protodsse.Signature) bool { return len(s.GetSig()) == 0 }) {
			return errors.New("its envelope is empty, or is not signed")
		}
		return nil
	}
	message := pb.GetMessageSignature()
	if len(message.GetSignature()) == 0 {
		return errors.New("its signature is empty")
	}
	digest := message.GetMessageDigest()
	name, ok := hashNames[digest.GetAlgorithm()]
	if !ok {
		return fmt.Errorf("digest algorithm %s is not known", digest.GetAlgorithm())
	}
	if want := newHash(name).Size(); len(digest.GetDigest()) != want {
		return fmt.Errorf("its digest has %d bytes, and %s has %d", len(digest.GetDigest()), name, want)
	}
	return nil
}
