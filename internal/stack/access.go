package stack

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/services/ca/token"
)

// access is what a route asks its callers for.
func (s *Stack) access(service string, e httpd.Effect) httpd.Access {
	a := s.conf.Access
	type route struct {
		service string
		effect  httpd.Effect
	}
	return accessOf(map[route]string{
		{"ctlog", httpd.Read}:  a.Read,
		{"tlog", httpd.Read}:   a.Read,
		{"ca", httpd.Write}:    a.Write.CA,
		{"ctlog", httpd.Write}: a.Write.CTLog,
		{"tlog", httpd.Write}:  a.Write.TLog,
		{"tsa", httpd.Write}:   a.Write.TSA,
	}[route{service, e}])
}

func accessOf(policy string) httpd.Access {
	switch policy {
	case "", config.AccessAnonymous:
		return httpd.Anonymous
	case config.AccessBearer:
		return httpd.Bearer
	case config.AccessMTLS:
		return httpd.MTLS
	default:
		return httpd.Internal // also what nobody has thought of: it lets nobody in
	}
}

// asksForTokens reports whether a token ever helps in this process.
func (s *Stack) asksForTokens() bool {
	a := s.conf.Access
	return s.conf.TLog != nil && a.RedactEmails && len(s.tokenIssuers()) > 0 ||
		slices.Contains([]string{a.Read, a.Write.CTLog, a.Write.TLog, a.Write.TSA}, config.AccessBearer)
}

// tokenIssuers are those whose tokens count as bearer.
func (s *Stack) tokenIssuers() []config.Issuer {
	if s.conf.CA != nil {
		return s.conf.CA.Issuers
	}
	return s.conf.Access.Issuers
}

// buildAccess makes the verifier of bearer tokens, where one is asked for.
func (b *builder) buildAccess(context.Context) error {
	issuers, err := b.issuers(b.conf)
	if err != nil {
		return err
	}
	bearer, err := token.New(token.Config{Issuers: issuers, Now: b.opts.Now, Log: b.opts.Log})
	if err != nil {
		return fmt.Errorf("access by bearer token: %w", err)
	}
	b.bearer.Store(bearer)
	return nil
}

// verifyBearer accepts the tokens that the CA would issue a certificate for.
func (s *Stack) verifyBearer(ctx context.Context, raw string) error {
	bearer := s.bearer.Load()
	if bearer == nil {
		return fault.New(fault.Invalid, "this server accepts no tokens here")
	}
	verified, err := bearer.Verify(ctx, raw)
	if err != nil {
		return err
	}
	if _, err := verified.Principal(ctx); err != nil {
		return err
	}
	return verified.CheckPolicy(ctx)
}

// maySearchNames decides who may search the log by e-mail address and subject; nil:
// everybody.
func (s *Stack) maySearchNames() func(http.ResponseWriter, *http.Request) error {
	if !s.conf.Access.RedactEmails {
		return nil
	}
	return s.mux.Identified
}

// maySelfTest reports whether the start's self-test is let in to what it tries: it
// has a token, but no client certificate.
func (s *Stack) maySelfTest() bool {
	w := s.conf.Access.Write
	return !slices.Contains([]string{w.CA, w.TLog, w.TSA}, config.AccessMTLS)
}

// showToken shows a token, once there is one, wherever a request says nothing of
// who sends it: to the stack's own services, so that they are tried as they are
// configured.
type showToken struct {
	to    http.RoundTripper
	token string // set before the requests that need it
}

// RoundTrip implements http.RoundTripper.
func (t *showToken) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.token != "" && r.Header.Get("Authorization") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+t.token)
	}
	return t.to.RoundTrip(r)
}

// CloseIdleConnections is for http.Client's.
func (t *showToken) CloseIdleConnections() { (&http.Client{Transport: t.to}).CloseIdleConnections() }

// trustedProxies are the networks of the configuration, which was validated.
func (s *Stack) trustedProxies() []netip.Prefix {
	var out []netip.Prefix
	for _, n := range s.conf.Access.TrustedProxies {
		out = append(out, netip.MustParsePrefix(n).Masked())
	}
	return out
}
