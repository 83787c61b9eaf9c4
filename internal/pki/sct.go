package pki

import (
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// MarshalSCTList encodes serialized SCTs as the value of the OIDSCTList
// extension: the TLS list of RFC 6962 §3.3 inside an OCTET STRING (the other
// OCTET STRING is extnValue itself). Each SCT is 1 to 65,535 bytes.
func MarshalSCTList(scts [][]byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(list *cryptobyte.Builder) {
		for _, sct := range scts {
			list.AddUint16LengthPrefixed(func(item *cryptobyte.Builder) { item.AddBytes(sct) })
		}
	})
	list, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode SCT list: %w", err)
	}
	return asn1.Marshal(list)
}

// ParseSCTList is the inverse of MarshalSCTList.
func ParseSCTList(value []byte) ([][]byte, error) {
	var list []byte
	rest, err := asn1.Unmarshal(value, &list)
	if err != nil || len(rest) != 0 {
		return nil, errors.New("SCT list is not one OCTET STRING")
	}
	s := cryptobyte.String(list)
	var items cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&items) || !s.Empty() {
		return nil, errors.New("SCT list length is wrong")
	}
	var scts [][]byte
	for !items.Empty() {
		var item cryptobyte.String
		if !items.ReadUint16LengthPrefixed(&item) || item.Empty() {
			return nil, errors.New("SCT length is wrong")
		}
		scts = append(scts, item)
	}
	return scts, nil
}
