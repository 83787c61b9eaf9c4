// Package token verifies OpenID Connect ID tokens and finds the issuer that
// vouches for each (contract: ca.md §3; RFC 7515, RFC 7519, OpenID Connect
// Discovery 1.0). What the claims mean is left to the package identity.
package token

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sigstack/internal/fault"
	"sigstack/services/ca/cause"
	"sigstack/services/ca/identity"
)

// notBeforeLeeway is how far a token's start may lie in the future: the issuer's
// clock may be ahead. Expiry has no leeway at all.
const notBeforeLeeway = 5 * time.Minute

// Config configures New. Every field but Previous is required.
type Config struct {
	Issuers []identity.Issuer // at least one
	Now     func() time.Time
	Log     *slog.Logger
	// Previous is the verifier that the new one takes the place of: keys that it has
	// of issuers which are asked the same way still are kept. nil: none.
	Previous *Verifier
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	now     func() time.Time
	log     *slog.Logger
	trusted []*trusted    // in the order of configuration
	matched *cache        // sources of issuers that a pattern matched
	looks   chan struct{} // one for each of those that is being asked
}

// New returns a Verifier. The error joins everything wrong with the issuers; the
// network is not touched.
func New(cfg Config) (*Verifier, error) {
	v := &Verifier{now: cfg.Now, log: cfg.Log, matched: &cache{limit: maxMatched}, looks: make(chan struct{}, maxLooks)}
	if cfg.Previous != nil {
		v.looks = cfg.Previous.looks // the bound is one of the process
	}
	if len(cfg.Issuers) == 0 {
		return nil, errors.New("no token issuer is configured")
	}
	var problems []error
	for _, issuer := range cfg.Issuers {
		if err := v.add(issuer, cfg.Previous); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return v, nil
}

// Token is what a verified ID token says, and the issuer that vouches for it.
type Token struct {
	Issuer identity.Issuer
	Claims identity.Claims
}

// Principal returns who the token speaks for. An error is fault.Invalid.
func (t Token) Principal(ctx context.Context) (identity.Principal, error) {
	who, err := t.Issuer.Principal(t.Claims)
	err = cause.Conclude(ctx, cause.Identity, err, func() cause.Facts {
		return cause.Facts{Expected: "the claims of an issuer of type " + string(t.Issuer.Type)}
	})
	return who, err
}

// CheckPolicy refuses the token, with fault.Invalid, unless it meets every rule of
// its issuer's.
func (t Token) CheckPolicy(ctx context.Context) error {
	facts, err := cause.Facts{Expected: "nothing: the issuer has no rules"}, error(nil)
	if t.Issuer.Policy != nil {
		facts.Expected, err = "every rule of the issuer", t.Issuer.Policy(t.Claims)
	}
	return cause.Conclude(ctx, cause.Policy, err, func() cause.Facts { return facts })
}

// Verify checks a token as the contract asks, and what needs no network first. An
// error is fault.Invalid where the token is at fault, fault.Unavailable where its
// issuer could not be asked, fault.Canceled or fault.Timeout where ctx ended; no
// sentence in it repeats the token.
func (v *Verifier) Verify(ctx context.Context, raw string) (Token, error) {
	token, src, err := v.inspect(ctx, raw)
	if err != nil {
		return Token{}, err
	}
	keys, err := src.published(ctx)
	if err != nil {
		err = src.unanswered(ctx, err)
	}
	if err := cause.Conclude(ctx, cause.Keys, err, func() cause.Facts { return src.keysFacts(keys) }); err != nil {
		return Token{}, err
	}
	err = src.verifySignature(ctx, raw, keys)
	if err := cause.Conclude(ctx, cause.Signature, err, func() cause.Facts { return src.signatureFacts(raw, keys) }); err != nil {
		return Token{}, err
	}
	return token, nil
}

// Inspect makes those of Verify's checks that need neither the issuer nor its keys.
// What it returns may be made up by anybody: it is good for telling why a token is
// refused, and for nothing else.
func (v *Verifier) Inspect(ctx context.Context, raw string) (Token, error) {
	token, _, err := v.inspect(ctx, raw)
	return token, err
}

func (v *Verifier) inspect(ctx context.Context, raw string) (Token, *source, error) {
	claims, err := parse(raw)
	if err := cause.Conclude(ctx, cause.Form, err, func() cause.Facts { return formFacts(raw) }); err != nil {
		return Token{}, nil, err
	}
	issuer, src, err := v.find(ctx, claims)
	if err != nil {
		return Token{}, nil, err
	}
	// Who comes with a token that is of no use anyway is not told to try again.
	if err := v.checkTimes(ctx, claims); err != nil {
		return Token{}, nil, err
	}
	return Token{issuer, claims}, src, nil
}

func parse(raw string) (identity.Claims, error) {
	payload, err := split(raw)
	if err != nil {
		return identity.Claims{}, err
	}
	return identity.ParseClaims(payload)
}

// find returns the issuer that vouches for a token and is meant by its audience,
// and its keys.
func (v *Verifier) find(ctx context.Context, claims identity.Claims) (identity.Issuer, *source, error) {
	found, err := v.candidates(claims.Issuer), error(nil)
	if len(found) == 0 {
		err = fault.New(fault.Invalid, "the issuer is not trusted here")
	}
	if err := cause.Conclude(ctx, cause.Issuer, err, func() cause.Facts { return issuerFacts(claims, found) }); err != nil {
		return identity.Issuer{}, nil, err
	}
	issuer, at, err := chooseByAudience(found, claims)
	if err := cause.Conclude(ctx, cause.Audience, err, func() cause.Facts { return audienceFacts(claims, found) }); err != nil {
		return identity.Issuer{}, nil, err
	}
	src, err := v.sourceOf(at, claims.Issuer)
	return issuer, src, err
}

func chooseByAudience(found []*trusted, claims identity.Claims) (identity.Issuer, *trusted, error) {
	audience, err := claims.Audience()
	if err != nil {
		return identity.Issuer{}, nil, err
	}
	for _, t := range found {
		if issuer, ok := t.forAudience(audience); ok {
			return issuer, t, nil
		}
	}
	return identity.Issuer{}, nil, fault.New(fault.Invalid, "the token is for another audience")
}

// checkTimes checks expiry and start.
func (v *Verifier) checkTimes(ctx context.Context, claims identity.Claims) error {
	now := v.now()
	latest := now.Add(notBeforeLeeway)
	err := checkExpiry(claims, now)
	if err := cause.Conclude(ctx, cause.Expiry, err, func() cause.Facts { return timeFacts(claims, "exp", "not before", now) }); err != nil {
		return err
	}
	err = checkStart(claims, latest)
	return cause.Conclude(ctx, cause.NotBefore, err, func() cause.Facts { return timeFacts(claims, "nbf", "none, or at the latest", latest) })
}

func checkExpiry(claims identity.Claims, now time.Time) error {
	expiry, ok, err := claims.Time("exp")
	switch {
	case err != nil:
		return err
	case !ok:
		return fault.Because(fault.New(fault.Invalid, "claim exp is missing"), fault.Detail{Reason: "CLAIM_MISSING", Metadata: map[string]string{"claim": "exp"}})
	case now.After(expiry):
		return fault.New(fault.Invalid, "the token has expired")
	}
	return nil
}

func checkStart(claims identity.Claims, latest time.Time) error {
	start, ok, err := claims.Time("nbf")
	if err != nil {
		return err
	}
	if ok && start.After(latest) {
		return fault.New(fault.Invalid, "the token is not valid yet")
	}
	return nil
}

// Warm fetches the keys of every issuer that is no pattern and whose keys are not
// there yet. One that cannot be reached is logged; Verify asks it again.
func (v *Verifier) Warm(ctx context.Context) {
	for _, t := range v.trusted {
		if t.source == nil {
			continue
		}
		if _, err := t.source.published(ctx); err != nil {
			v.log.WarnContext(ctx, "token issuer is not reachable yet",
				slog.String("issuer", t.url()), slog.Any("error", err))
		}
	}
}

// Away asks those issuers again that did not answer the last time, and returns the
// URLs of the ones that do not yet. Patterns are left out: which issuers one matches
// is up to strangers.
func (v *Verifier) Away(ctx context.Context) (urls []string) {
	for _, t := range v.trusted {
		if t.source == nil || !t.source.failing() {
			continue
		}
		if _, err := t.source.newerThan(ctx, t.source.known()); err != nil {
			urls = append(urls, t.url())
		}
	}
	return urls
}

// allowed holds every signature algorithm that a token may use: none without a
// public key, and never "none".
func allowed() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512,
		jose.ES256, jose.ES384, jose.ES512,
		jose.PS256, jose.PS384, jose.PS512,
		jose.EdDSA,
	}
}
