//go:build pkcs11 && cgo

package token

import (
	"context"

	"github.com/miekg/pkcs11"
)

// Generation returns how often the key's library was initialised again.
func (k *Key) Generation() (uint64, error) { return k.module.generation(context.Background()) }

// Protection asks the token how it keeps the private key.
func (k *Key) Protection() (sensitive, extractable bool, err error) {
	attrs, err := call(k, true, func(s *session) ([]*pkcs11.Attribute, error) {
		key, err := s.privateKey(k.uri)
		if err != nil {
			return nil, err
		}
		return s.GetAttributeValue(s.handle, key, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, nil), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, nil),
		})
	})
	if err != nil {
		return false, false, err
	}
	return attrs[0].Value[0] != 0, attrs[1].Value[0] != 0, nil
}
