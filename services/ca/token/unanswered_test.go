package token_test

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity/identitytest"
	"sigstack/services/ca/token"
)

// unanswered checks that nothing is said of raw but that its issuer could not be
// asked, and when to try again.
func unanswered(t *testing.T, v *token.Verifier, raw string) {
	t.Helper()
	_, err := v.Verify(t.Context(), raw)
	if fault.KindOf(err) != fault.Unavailable || fault.RetryAfterOf(err) <= 0 || !strings.Contains(fault.Public(err), "could not be reached") {
		t.Errorf("error = %v (again after %v), want one of an issuer that could not be reached", err, fault.RetryAfterOf(err))
	}
}

// TestUselessTokenOfAwayIssuer: what no issuer could make good is the token's
// fault, whether the issuer is there or not.
func TestUselessTokenOfAwayIssuer(t *testing.T) {
	s := newSetup(t)
	s.issuer.Handle(http.NotFoundHandler())
	refused(t, s.verifier, s.issuer.Token(t, claims{"aud": "other"}), "another audience")
	refused(t, s.verifier, s.issuer.Token(t, claims{"exp": s.clock.Now().Add(-time.Second).Unix()}), "has expired")
	refused(t, s.verifier, s.issuer.Token(t, claims{"iss": "https://other.example"}), "not trusted")
}

// TestNewKeyOfAwayIssuer: a token of a key that we do not know is not refused
// while nobody can tell us of new keys; one of a key that we know is.
func TestNewKeyOfAwayIssuer(t *testing.T) {
	s := newSetup(t)
	old := s.issuer.Token(t, nil)
	accepted(t, s.verifier, old)
	s.issuer.SetKey(identitytest.NewKey(t, "key-2"))
	fresh := s.issuer.Token(t, nil)
	refused(t, s.verifier, fresh, "no key of the issuer") // asked a moment ago, and that went well
	s.issuer.Handle(http.NotFoundHandler())
	s.clock.Advance(time.Minute)
	unanswered(t, s.verifier, fresh)
	unanswered(t, s.verifier, fresh) // asked a moment ago, and that failed
	refused(t, s.verifier, flip(old), "no key of the issuer")
	accepted(t, s.verifier, old)
	s.issuer.Handle(nil)
	s.clock.Advance(time.Minute)
	accepted(t, s.verifier, fresh)
}

// TestAway: an issuer that does not answer is named until it does, and is asked for
// nothing while it answers.
func TestAway(t *testing.T) {
	s := newSetup(t)
	want := func(when string, urls ...string) {
		t.Helper()
		if got := s.verifier.Away(t.Context()); !slices.Equal(got, urls) {
			t.Errorf("%s: %v are away, want %v", when, got, urls)
		}
	}
	want("before anybody asked")
	s.issuer.Handle(http.NotFoundHandler())
	s.verifier.Warm(t.Context())
	want("not found", s.issuer.URL)
	s.clock.Advance(time.Minute)
	want("asked again", s.issuer.URL)
	s.issuer.Handle(nil)
	want("asked a moment ago", s.issuer.URL)
	s.clock.Advance(time.Minute)
	want("there again")
	accepted(t, s.verifier, s.issuer.Token(t, nil))
}

// failing fails every request.
type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

// status answers every request with it.
func status(code int) http.RoundTripper {
	return inProcess{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })}
}

// TestMadeUpIssuers: whoever names an issuer that does not exist where a pattern
// allows for one is at fault himself; one that exists may be away.
func TestMadeUpIssuers(t *testing.T) {
	tests := []struct {
		name string
		by   http.RoundTripper
		away bool
	}{
		{"no such host", failing{&net.DNSError{Err: "no such host", IsNotFound: true}}, false},
		{"name server is away", failing{&net.DNSError{Err: "i/o timeout", IsTimeout: true}}, true},
		{"connection refused", failing{&net.OpError{Op: "dial", Err: errors.New("connection refused")}}, true},
		{"no issuer there", status(http.StatusNotFound), false},
		{"no document", status(http.StatusOK), false},
		{"busy", status(http.StatusTooManyRequests), true},
		{"failing", status(http.StatusBadGateway), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSetup(t)
			pattern := emailIssuer("https://*.example.com")
			pattern.HTTPClient = &http.Client{Transport: tt.by}
			raw := s.issuer.Token(t, claims{"iss": "https://a.example.com"})
			if tt.away {
				unanswered(t, s.trusting(t, pattern), raw)
				return
			}
			refused(t, s.trusting(t, pattern), raw, "keys are not available")
		})
	}
}
