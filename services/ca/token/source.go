package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sigstack/services/ca/identity"
)

const (
	// fetchTimeout bounds one look at an issuer: its document and its keys.
	fetchTimeout = 10 * time.Second
	// refetchAfter is the least time between two looks at an issuer whose keys we
	// have: anybody can send tokens that no key verifies.
	refetchAfter = 10 * time.Second
	// retryAfter is the same while we have no keys.
	retryAfter = time.Second
	// staleAfter is when keys are looked up again unasked, so that those an issuer
	// has withdrawn stop working.
	staleAfter = time.Hour
	// maxKeys bounds what a token without key id can make us try.
	maxKeys = 100
)

// errTooSoon says that the issuer was asked a moment ago.
var errTooSoon = errors.New("the issuer was asked a moment ago")

// published is what an issuer published at one time. It never changes.
type published struct {
	algorithms []jose.SignatureAlgorithm
	keys       []jose.JSONWebKey
	fetched    time.Time
}

// source is one issuer and what is known of it.
type source struct {
	issuer identity.Issuer // how to ask; others of its URL differ in what tokens mean
	url    string          // the issuer's own, where issuer.URL may be a pattern
	fixed  *published      // keys of an issuer that is never asked; nil: it is
	client *http.Client
	looks  chan struct{} // held while an issuer that a pattern matched is asked; nil: no bound
	now    func() time.Time
	log    *slog.Logger

	// fetching (capacity 1) is held while the issuer is asked; the others wait for it
	// and share what it brings.
	fetching chan struct{}

	mu      sync.Mutex // guards what follows
	current *published // nil before the first success
	asked   time.Time  // last attempt, zero before the first
	failed  error      // of the last attempt
}

func (v *Verifier) newSource(issuer identity.Issuer, url string) (*source, error) {
	src := &source{issuer: issuer, url: url, now: v.now, log: v.log, fetching: make(chan struct{}, 1)}
	if issuer.Wildcard() {
		src.looks = v.looks
	}
	var err error
	if issuer.Keys != nil {
		src.fixed, err = fixedKeys(issuer.Keys)
	} else {
		src.client, err = hardened(issuer)
	}
	if err != nil {
		return nil, fmt.Errorf("issuer %q: %w", issuer.URL, err)
	}
	return src, nil
}

// published returns the issuer's keys, asking it when there are none yet or they
// are old. Old ones stay good while the issuer does not answer.
func (s *source) published(ctx context.Context) (*published, error) {
	if s.fixed != nil {
		return s.fixed, nil
	}
	current := s.known()
	if current != nil && s.now().Sub(current.fetched) < staleAfter {
		return current, nil
	}
	newer, err := s.newerThan(ctx, current)
	if err == nil || current == nil {
		return newer, err
	}
	if !errors.Is(err, errTooSoon) {
		s.log.WarnContext(ctx, "token issuer does not answer; its last keys stay in use",
			slog.String("issuer", s.url), slog.Any("error", err))
	}
	return current, nil
}

func (s *source) known() *published {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// failing reports whether the last attempt to ask the issuer failed.
func (s *source) failing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed != nil
}

// mayAsk returns newer keys than old if there are some, an error if it is too
// soon to ask, and neither if the issuer may be asked.
func (s *source) mayAsk(old *published) (*published, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != old {
		return s.current, nil
	}
	wait := refetchAfter
	if s.current == nil {
		wait = retryAfter
	}
	// A negative age means that the clock was set back.
	if age := s.now().Sub(s.asked); !s.asked.IsZero() && age >= 0 && age < wait {
		return nil, errors.Join(errTooSoon, s.failed)
	}
	return nil, nil
}

// fetch reads the discovery document and the keys it points to (OpenID Connect
// Discovery 1.0 §4).
func (s *source) fetch(ctx context.Context) (*published, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var doc struct {
		Issuer     string   `json:"issuer"`
		KeysURL    string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := s.getJSON(ctx, strings.TrimSuffix(s.base(), "/")+"/.well-known/openid-configuration", &doc); err != nil {
		return nil, err
	}
	// Byte for byte, slash included (§4.3): tokens are matched the same way.
	if doc.Issuer != s.url {
		return nil, fmt.Errorf("discovery document is of issuer %q, not of %q", doc.Issuer, s.url)
	}
	if err := s.checkKeysURL(doc.KeysURL); err != nil {
		return nil, err
	}
	var set keySet
	if err := s.getJSON(ctx, doc.KeysURL, &set); err != nil {
		return nil, err
	}
	keys := usable(set.Keys)
	if len(keys) == 0 {
		return nil, errors.New("the issuer publishes no key that can verify tokens")
	}
	return &published{algorithms: advertised(doc.Algorithms), keys: keys, fetched: s.now()}, nil
}

// base is the URL that the discovery document is below.
func (s *source) base() string { return cmp.Or(s.issuer.DiscoveryURL, s.url) }

// checkKeysURL keeps the keys as well protected on their way as the document. Who
// backs an issuer locally has its keys, too: a document that points to the issuer
// itself would mix the two up.
func (s *source) checkKeysURL(keysURL string) error {
	u, err := url.Parse(keysURL)
	if err != nil {
		return fmt.Errorf("parse jwks_uri: %w", err)
	}
	asked, err := url.Parse(s.base())
	if err != nil {
		return fmt.Errorf("parse URL: %w", err)
	}
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || asked.Scheme == "https"):
		return fmt.Errorf("jwks_uri %q is less protected than the issuer", keysURL)
	case s.issuer.DiscoveryURL != "" && u.Host != asked.Host:
		return fmt.Errorf("jwks_uri %q leads away from the discovery URL's host %s", keysURL, asked.Host)
	}
	return nil
}

// advertised returns the allowed algorithms among names, RS256 if there is none
// (OpenID Connect Core 1.0 §3.1.3.7).
func advertised(names []string) []jose.SignatureAlgorithm {
	var algorithms []jose.SignatureAlgorithm
	for _, a := range allowed() {
		if slices.Contains(names, string(a)) {
			algorithms = append(algorithms, a)
		}
	}
	if len(algorithms) == 0 {
		return []jose.SignatureAlgorithm{jose.RS256}
	}
	return algorithms
}
