package pki

import (
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// extensionsTag is that of a TBSCertificate's extensions (RFC 5280 §4.1).
const extensionsTag = cbasn1.Tag(3 | 0x80 | 0x20)

// TBSWithout returns the TBSCertificate of a DER certificate without the one
// extension named, which must be its last. All else stays byte for byte: it is what
// a CT log signs (RFC 6962 §3.2), of a precertificate as of its certificate.
func TBSWithout(der []byte, last asn1.ObjectIdentifier) ([]byte, error) {
	input := cryptobyte.String(der)
	var cert, tbs, wrapped, extensions cryptobyte.String
	if !input.ReadASN1(&cert, cbasn1.SEQUENCE) || !cert.ReadASN1(&tbs, cbasn1.SEQUENCE) {
		return nil, errors.New("not a certificate")
	}
	all := tbs
	for !tbs.PeekASN1Tag(extensionsTag) {
		var element cryptobyte.String
		var tag cbasn1.Tag
		if !tbs.ReadAnyASN1Element(&element, &tag) {
			return nil, errors.New("certificate has no extensions")
		}
	}
	head := all[:len(all)-len(tbs)] // version to subject public key
	if !tbs.ReadASN1(&wrapped, extensionsTag) || !tbs.Empty() || !wrapped.ReadASN1(&extensions, cbasn1.SEQUENCE) || !wrapped.Empty() {
		return nil, errors.New("certificate extensions are malformed")
	}
	kept, err := withoutLast(extensions, last)
	if err != nil {
		return nil, err
	}
	return (&Draft{head: head, extensions: kept}).TBS()
}

// withoutLast returns the extensions without the last one, which must be of id and
// not the only one: there is no empty list of extensions (RFC 5280 §4.1).
func withoutLast(extensions cryptobyte.String, id asn1.ObjectIdentifier) ([]byte, error) {
	all := extensions
	for !extensions.Empty() {
		kept := all[:len(all)-len(extensions)]
		var ext cryptobyte.String
		if !extensions.ReadASN1(&ext, cbasn1.SEQUENCE) {
			break
		}
		var got asn1.ObjectIdentifier
		if extensions.Empty() && len(kept) > 0 && ext.ReadASN1ObjectIdentifier(&got) && got.Equal(id) {
			return kept, nil
		}
	}
	return nil, fmt.Errorf("certificate does not end in extension %s", id)
}
