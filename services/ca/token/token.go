package token

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"sigstack/internal/fault"
)

// maxToken bounds a token in bytes. Providers that list groups reach some 20 KiB.
const maxToken = 64 << 10

// split checks that raw has the compact form of RFC 7515 §7.1, exactly two dots
// between unpadded base64url, and decodes the payload. The dots are counted, so
// that a text of a million dots costs one scan.
func split(raw string) ([]byte, error) {
	switch {
	case raw == "":
		return nil, fault.New(fault.Invalid, "there is no token")
	case len(raw) > maxToken:
		return nil, fault.Newf(fault.Invalid, "the token is over %d bytes", maxToken)
	case strings.Count(raw, ".") != 2 || strings.ContainsFunc(raw, notCompact):
		return nil, fault.New(fault.Invalid, "the token is not three base64url parts")
	}
	_, rest, _ := strings.Cut(raw, ".")
	middle, _, _ := strings.Cut(rest, ".")
	payload, err := base64.RawURLEncoding.Strict().DecodeString(middle)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the payload is not base64url")
	}
	return payload, nil
}

// notCompact also finds the line breaks that Go's base64 decoder skips.
func notCompact(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	default:
		return r != '-' && r != '_' && r != '.'
	}
}

// errNoKey says that none of the issuer's keys verifies a token.
var errNoKey = errors.New("no key of the issuer verifies the signature")

// verifySignature checks raw against the issuer's keys. If none fits, the issuer
// may have rotated them: it is asked again, within reason, and raw tried once more.
func (s *source) verifySignature(ctx context.Context, raw string, keys *published) error {
	err := keys.verify(raw)
	if !errors.Is(err, errNoKey) {
		return err
	}
	if s.fixed != nil {
		return fault.New(fault.Invalid, errNoKey.Error())
	}
	newer, fetchErr := s.newerThan(ctx, keys)
	if fetchErr != nil {
		if !keys.hasNamed(raw) && (ctx.Err() != nil || s.failing()) {
			return s.unanswered(ctx, fetchErr) // the key may be a new one, which nobody could tell us
		}
		return fault.Wrap(fault.Invalid, fetchErr, errNoKey.Error())
	}
	if err := newer.verify(raw); err != nil {
		return fault.Wrap(fault.Invalid, err, errNoKey.Error())
	}
	return nil
}

// hasNamed reports whether the key that raw names is among those known. One that
// does not verify raw then is not missing, and raw that names none is no sign of
// a missing one either.
func (p *published) hasNamed(raw string) bool {
	jws, err := jose.ParseSignedCompact(raw, p.algorithms)
	if err != nil {
		return true
	}
	named := jws.Signatures[0].Protected.KeyID
	return named == "" || slices.ContainsFunc(p.keys, func(k jose.JSONWebKey) bool { return k.KeyID == named })
}

// verify checks the one signature of raw by the key that its header names, or by
// any if it names none. The error is errNoKey where other keys might help.
func (p *published) verify(raw string) error {
	jws, err := jose.ParseSignedCompact(raw, p.algorithms)
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "the token's signature algorithm is not accepted")
	}
	header := jws.Signatures[0].Protected
	for _, key := range p.keys {
		if header.KeyID != "" && key.KeyID != header.KeyID {
			continue
		}
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if _, err := jws.Verify(key); err == nil {
			return nil
		}
	}
	return errNoKey
}
