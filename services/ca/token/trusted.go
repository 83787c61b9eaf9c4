package token

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"sigstack/services/ca/identity"
)

// trusted is one URL, or one pattern of URLs, with all that is configured for it:
// issuers of different types are told apart by audience, and share their keys.
type trusted struct {
	issuers []identity.Issuer // at least one; they differ in their client ids
	pattern *regexp.Regexp    // nil for one URL
	source  *source           // nil for a pattern
}

func (t *trusted) url() string { return t.issuers[0].URL }

// forAudience returns the first issuer that a token with these audiences is for.
func (t *trusted) forAudience(audience []string) (identity.Issuer, bool) {
	for _, issuer := range t.issuers {
		if slices.Contains(audience, issuer.ClientID) {
			return issuer, true
		}
	}
	return identity.Issuer{}, false
}

// add adds an issuer to those of the same URL.
func (v *Verifier) add(issuer identity.Issuer, previous *Verifier) error {
	if err := issuer.Check(); err != nil {
		return err
	}
	at := slices.IndexFunc(v.trusted, func(t *trusted) bool { return t.url() == issuer.URL })
	if at < 0 {
		return v.addURL(issuer, previous)
	}
	known := v.trusted[at]
	if !sameWay(known.issuers[0], issuer) {
		return fmt.Errorf("issuer %q is configured twice, with different keys or ways to ask for them", issuer.URL)
	}
	if _, taken := known.forAudience([]string{issuer.ClientID}); taken {
		return fmt.Errorf("issuer %q is configured twice for audience %q", issuer.URL, issuer.ClientID)
	}
	known.issuers = append(known.issuers, issuer)
	return nil
}

func (v *Verifier) addURL(issuer identity.Issuer, previous *Verifier) (err error) {
	t := &trusted{issuers: []identity.Issuer{issuer}}
	switch old := previous.of(issuer); {
	case issuer.Wildcard():
		t.pattern = compile(issuer.URL)
		v.matched.sources = append(v.matched.sources, previous.matchedBy(issuer)...)
	case old != nil:
		t.source = old.source
	default:
		t.source, err = v.newSource(issuer, issuer.URL)
	}
	v.trusted = append(v.trusted, t)
	return err
}

// of returns what v trusts by the URL of issuer and asks the same way, nil if
// nothing; v may be nil.
func (v *Verifier) of(issuer identity.Issuer) *trusted {
	if v == nil {
		return nil
	}
	at := slices.IndexFunc(v.trusted, func(t *trusted) bool { return sameWay(t.issuers[0], issuer) })
	if at < 0 {
		return nil
	}
	return v.trusted[at]
}

// matchedBy returns the sources that v has of a pattern's issuers.
func (v *Verifier) matchedBy(issuer identity.Issuer) []*source {
	if v == nil {
		return nil
	}
	return v.matched.taken(func(s *source) bool { return sameWay(s.issuer, issuer) })
}

// sameWay reports whether the keys of two issuers come from the same place by the
// same way.
func sameWay(a, b identity.Issuer) bool {
	return a.URL == b.URL && a.DiscoveryURL == b.DiscoveryURL && a.BearerTokenFile == b.BearerTokenFile &&
		bytes.Equal(a.Keys, b.Keys) && (a.Keys == nil) == (b.Keys == nil) &&
		slices.EqualFunc(a.RootCAs, b.RootCAs, (*x509.Certificate).Equal) &&
		sameClient(a.HTTPClient, b.HTTPClient)
}

func sameClient(a, b *http.Client) bool {
	if a == nil || b == nil {
		return a == b
	}
	kind := reflect.TypeOf(a.Transport)
	return kind == reflect.TypeOf(b.Transport) && (kind == nil || kind.Comparable() && a.Transport == b.Transport)
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

// candidates returns what may vouch for tokens of an issuer: its URL if that is
// configured, else the patterns that match it, in the order of configuration.
func (v *Verifier) candidates(url string) []*trusted {
	var patterns []*trusted
	for _, t := range v.trusted {
		switch {
		case t.pattern == nil && t.url() == url:
			return []*trusted{t}
		case t.pattern != nil && t.pattern.MatchString(url):
			patterns = append(patterns, t)
		}
	}
	return patterns
}

// sourceOf returns the keys of the issuer with that URL.
func (v *Verifier) sourceOf(t *trusted, url string) (*source, error) {
	if t.pattern == nil {
		return t.source, nil
	}
	return v.matched.get(url, t.url(), func() (*source, error) { return v.newSource(t.issuers[0], url) })
}

// maxMatched bounds how many issuers that a pattern matched are kept (contract:
// ca.md §2).
const maxMatched = 100

// cache keeps the most recently used sources. It is safe for concurrent use.
type cache struct {
	limit int

	mu      sync.Mutex // guards sources
	sources []*source  // most recently used last; few enough to walk through
}

// get returns the source of an issuer that a pattern matched, made by add if it is
// not there, and drops the one unused for longest when there are too many.
func (c *cache) get(url, pattern string, add func() (*source, error)) (*source, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.sources, func(s *source) bool { return s.url == url && s.issuer.URL == pattern })
	if i >= 0 {
		src := c.sources[i]
		c.sources = append(slices.Delete(c.sources, i, i+1), src)
		return src, nil
	}
	src, err := add()
	if err != nil {
		return nil, err
	}
	if len(c.sources) == c.limit {
		c.sources = slices.Delete(c.sources, 0, 1)
	}
	c.sources = append(c.sources, src)
	return src, nil
}

// taken returns those of its sources that keep says so of, in their order.
func (c *cache) taken(keep func(*source) bool) []*source {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*source
	for _, src := range c.sources {
		if keep(src) {
			out = append(out, src)
		}
	}
	return out
}
