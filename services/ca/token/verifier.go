// Package token verifies OpenID Connect ID tokens and finds the issuer that
// vouches for each (contract: ca.md §3; RFC 7515, RFC 7519, OpenID Connect
// Discovery 1.0). What the claims mean is left to the package identity.
package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
)

// notBeforeLeeway is how far a token's start may lie in the future: the issuer's
// clock may be ahead. Expiry has no leeway at all.
const notBeforeLeeway = 5 * time.Minute

// Config configures New. Every field is required.
type Config struct {
	Issuers []identity.Issuer // at least one
	Now     func() time.Time
	Log     *slog.Logger
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	now       func() time.Time
	log       *slog.Logger
	exact     map[string]*source // by issuer URL
	wildcards []wildcard
	matched   *cache // sources of issuers that a wildcard matched
}

// wildcard is an issuer whose URL is a pattern.
type wildcard struct {
	issuer identity.Issuer
	url    *regexp.Regexp
}

// New returns a Verifier. The error joins everything wrong with the issuers; the
// network is not touched.
func New(cfg Config) (*Verifier, error) {
	v := &Verifier{now: cfg.Now, log: cfg.Log, exact: map[string]*source{}, matched: &cache{limit: maxMatched}}
	if len(cfg.Issuers) == 0 {
		return nil, errors.New("no token issuer is configured")
	}
	var problems []error
	for _, issuer := range cfg.Issuers {
		if err := v.add(issuer); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *Verifier) add(issuer identity.Issuer) error {
	if err := issuer.Check(); err != nil {
		return err
	}
	if issuer.Wildcard() {
		v.wildcards = append(v.wildcards, wildcard{issuer, compile(issuer.URL)})
		return nil
	}
	if v.exact[issuer.URL] != nil {
		return fmt.Errorf("issuer %q is configured twice", issuer.URL)
	}
	src, err := v.newSource(issuer, issuer.URL)
	if err != nil {
		return err
	}
	v.exact[issuer.URL] = src
	return nil
}

// compile turns a URL pattern into an expression anchored at both ends: an
// unanchored one would let a token choose the host that we contact. What `*`
// matches holds none of the characters that separate the parts of a URL.
func compile(pattern string) *regexp.Regexp {
	parts := strings.Split(pattern, "*")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	return regexp.MustCompile(`\A` + strings.Join(parts, `[-_a-zA-Z0-9]+`) + `\z`)
}

// Token is what a verified ID token says, and the issuer that vouches for it.
type Token struct {
	Issuer identity.Issuer
	Claims identity.Claims
}

// Verify checks a token as the contract asks, and what needs no network first. An
// error is fault.Invalid where the token is at fault, fault.Unavailable where its
// issuer could not be asked, fault.Canceled or fault.Timeout where ctx ended; no
// sentence in it repeats the token.
func (v *Verifier) Verify(ctx context.Context, raw string) (Token, error) {
	payload, err := split(raw)
	if err != nil {
		return Token{}, err
	}
	claims, err := identity.ParseClaims(payload)
	if err != nil {
		return Token{}, err
	}
	src, err := v.source(claims.Issuer)
	if err != nil {
		return Token{}, err
	}
	// Who comes with a token that is of no use anyway is not told to try again.
	if err := v.checkClaims(src.issuer, claims); err != nil {
		return Token{}, err
	}
	keys, err := src.published(ctx)
	if err != nil {
		return Token{}, src.unanswered(ctx, err)
	}
	if err := src.verifySignature(ctx, raw, keys); err != nil {
		return Token{}, err
	}
	return Token{src.issuer, claims}, nil
}

// checkClaims checks audience and times.
func (v *Verifier) checkClaims(issuer identity.Issuer, claims identity.Claims) error {
	audience, err := claims.Audience()
	if err != nil {
		return err
	}
	if !slices.Contains(audience, issuer.ClientID) {
		return fault.New(fault.Invalid, "the token is for another audience")
	}
	now := v.now()
	expiry, ok, err := claims.Time("exp")
	switch {
	case err != nil:
		return err
	case !ok:
		return fault.New(fault.Invalid, "claim exp is missing")
	case now.After(expiry):
		return fault.New(fault.Invalid, "the token has expired")
	}
	start, ok, err := claims.Time("nbf")
	if err != nil {
		return err
	}
	if ok && start.After(now.Add(notBeforeLeeway)) {
		return fault.New(fault.Invalid, "the token is not valid yet")
	}
	return nil
}

// source finds who vouches for tokens of an issuer: exact URLs first, then
// patterns in the order of configuration.
func (v *Verifier) source(url string) (*source, error) {
	if src := v.exact[url]; src != nil {
		return src, nil
	}
	for _, w := range v.wildcards {
		if w.url.MatchString(url) {
			return v.matched.get(url, func() (*source, error) { return v.newSource(w.issuer, url) })
		}
	}
	return nil, fault.New(fault.Invalid, "the issuer is not trusted here")
}

// Warm fetches the keys of every issuer that is no pattern. One that cannot be
// reached is logged; Verify asks it again.
func (v *Verifier) Warm(ctx context.Context) {
	for url, src := range v.exact {
		if _, err := src.published(ctx); err != nil {
			v.log.WarnContext(ctx, "token issuer is not reachable yet",
				slog.String("issuer", url), slog.Any("error", err))
		}
	}
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
