package token

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"sigstack/internal/fault"
	"sigstack/services/ca/cause"
	"sigstack/services/ca/identity"
)

// maxToken bounds a token in bytes. Providers that list groups reach some 20 KiB.
const maxToken = 64 << 10

// split checks that raw has the compact form of RFC 7515 §7.1, exactly two dots
// between unpadded base64url, and decodes the payload. The dots are counted, so
// that a text of a million dots costs one scan.
func split(raw string) ([]byte, error) {
	switch {
	case raw == "":
		return nil, fault.Because(fault.New(fault.Invalid, "there is no token"), fault.Detail{Reason: "TOKEN_MISSING"})
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
		if !keys.hasNamed(raw) && (ctx.Err() != nil || errors.Is(fetchErr, errBusy) || s.failing()) {
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

// notSigned words why a token has no signature that could be verified.
func notSigned(err error) error {
	var algorithm *jose.ErrUnexpectedSignatureAlgorithm
	if !errors.As(err, &algorithm) {
		return fault.Because(fault.Wrap(fault.Invalid, err, "the token is not a signed one"), fault.Detail{Reason: "TOKEN_MALFORMED"})
	}
	return fault.Because(fault.Wrap(fault.Invalid, err, "the token's signature algorithm is not accepted"),
		fault.Detail{Reason: "ALGORITHM_NOT_ACCEPTED"})
}

// verify checks the one signature of raw by the key that its header names, or by
// any if it names none. The error is errNoKey where other keys might help.
func (p *published) verify(raw string) error {
	jws, err := jose.ParseSignedCompact(raw, p.algorithms)
	if err != nil {
		return notSigned(err)
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

func formFacts(raw string) cause.Facts {
	return cause.Facts{
		Expected: fmt.Sprintf("three parts of base64url, at most %d bytes, the second a JSON object with iss and sub", maxToken),
		Found:    counted(len(raw), "byte") + " with " + counted(strings.Count(raw, "."), "dot"),
	}
}

// issuerFacts do not list whom the CA trusts: its configuration endpoint does.
func issuerFacts(claims identity.Claims, found []*trusted) cause.Facts {
	facts := cause.Facts{Expected: "an issuer that the CA trusts, byte for byte", Said: claims.Issuer}
	if len(found) > 0 {
		facts.Found = found[0].url()
	}
	return facts
}

func audienceFacts(claims identity.Claims, found []*trusted) cause.Facts {
	var clientIDs []string
	for _, t := range found {
		for _, issuer := range t.issuers {
			clientIDs = append(clientIDs, issuer.ClientID)
		}
	}
	facts := cause.Facts{Expected: strings.Join(clientIDs, " or "), Found: "none"}
	if audience, err := claims.Audience(); err == nil {
		facts.Found, facts.Said = counted(len(audience), "audience"), strings.Join(audience, " ")
	}
	return facts
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// timeFacts are those of a claim with a time, which has to be how much to bound.
func timeFacts(claims identity.Claims, claim, how string, bound time.Time) cause.Facts {
	facts := cause.Facts{Expected: how + " " + bound.UTC().Format(time.RFC3339), Found: "none"}
	switch at, ok, err := claims.Time(claim); {
	case err != nil:
		facts.Found = "not a time"
	case ok:
		facts.Found = at.UTC().Format(time.RFC3339)
	}
	return facts
}

// keysFacts are those of keys, which are nil if there are none.
func (s *source) keysFacts(keys *published) cause.Facts {
	facts := cause.Facts{Expected: "keys of " + s.issuer.URL, Found: "none"}
	if s.fixed != nil {
		facts.Expected = "keys for " + s.issuer.URL + " in the CA's own configuration"
	}
	if keys != nil {
		facts.Found = counted(len(keys.keys), "key")
	}
	return facts
}

// signatureFacts look at the newest keys: the issuer may have been asked anew.
func (s *source) signatureFacts(raw string, keys *published) cause.Facts {
	if newest := s.known(); newest != nil {
		keys = newest
	}
	var names []string
	for _, a := range keys.algorithms {
		names = append(names, string(a))
	}
	algorithm, id := header(raw)
	facts := cause.Facts{Expected: strings.Join(names, " or ") + " by one of the issuer's keys", Said: id}
	switch {
	case id == "":
		facts.Found = algorithm + ", and no key id"
	case slices.ContainsFunc(keys.keys, func(k jose.JSONWebKey) bool { return k.KeyID == id }):
		facts.Found = algorithm + ", and the id of one of them"
	default:
		facts.Found = algorithm + ", and the id of another key"
	}
	return facts
}

// header returns algorithm and key id of a token's header. The algorithm is a
// registered one (RFC 7518 §3.1, RFC 8037 §3.1) or "an unknown algorithm".
func header(raw string) (algorithm, keyID string) {
	const unknown = "an unknown algorithm"
	first, _, _ := strings.Cut(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return unknown, ""
	}
	var h struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return unknown, ""
	}
	registered := append(allowed(), jose.HS256, jose.HS384, jose.HS512, "none")
	if !slices.Contains(registered, jose.SignatureAlgorithm(h.Algorithm)) {
		return unknown, h.KeyID
	}
	return h.Algorithm, h.KeyID
}
