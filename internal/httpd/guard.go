package httpd

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"

	"sigstack/internal/fault"
	"sigstack/internal/limit"
)

// Effect is what a route does. It decides what its callers are asked for.
type Effect int

// The effects. A route that nobody chose one for reads if it is for GET, and
// writes otherwise.
const (
	byMethod Effect = iota
	Public          // for everybody, always: health, the trust root, pages
	Read            // tells what was recorded
	Write           // signs or records
	Login           // tries a credential, or starts a login
)

// String returns the effect's name.
func (e Effect) String() string {
	return [...]string{"by method", "public", "read", "write", "login"}[e]
}

// Access is what callers of a route must show.
type Access int

// The ways to be let in.
const (
	Anonymous Access = iota // nothing
	Bearer                  // a token that Guard.Bearer accepts
	MTLS                    // a client certificate that was verified
	Internal                // nobody but other processes of this stack
)

// Guard is what a Mux asks of requests before they reach a handler, in the order
// of its fields. Other processes of the stack that ask for themselves are let in
// unasked, and everybody where a route is Public. The zero Guard lets everything
// in.
type Guard struct {
	// TrustedProxies are the networks of proxies whose X-Forwarded-For is
	// believed.
	TrustedProxies []netip.Prefix
	// StillGood is asked at each request of a client whose certificate was verified
	// when its connection began: one that has expired since, or whose authority has
	// been removed, counts as none. nil: what was good once stays good.
	StillGood func(*tls.ConnectionState) bool
	// Requests is how many are answered at once; HTTP/2 has many on one
	// connection. nil: any number.
	Requests *limit.Budget
	// Writes limits requests that write or log in, by AddressKey.
	Writes *limit.Keyed
	// Access is asked once for each route, when it is mounted. nil: Anonymous.
	Access func(service string, e Effect) Access
	// Stopped is asked of each request to write, before anything else, and also of
	// those of the stack's own processes: its error is the answer. nil: no service is.
	Stopped func(service, path string) error
	// Bearer verifies a token; its errors' public sentences are for the caller. One
	// of kind fault.Unavailable, Timeout or Canceled is answered as it is: whether
	// the token is good could not be found out.
	// Where Access asks for it, it is required.
	Bearer func(ctx context.Context, token string) error
	// Denied is told, before the answer, of a request to write that lacked what
	// Access asks for: cause is what the caller will read. Its own error is answered
	// instead. nil: nobody is told.
	Denied func(ctx context.Context, service string, cause error) error
	// Bodies is how many bytes of large request bodies, and of large answers, are
	// held at once, shared by AddressKey. nil: any number.
	Bodies *limit.Shares
}

// access is what a route asks for.
func (g *Guard) access(service string, e Effect) Access {
	if g.Access == nil || e == Public {
		return Anonymous
	}
	return g.Access(service, e)
}

// effect resolves byMethod.
func effect(method string, e Effect) Effect {
	switch {
	case e != byMethod:
		return e
	case method == http.MethodGet:
		return Read
	default:
		return Write
	}
}

// admit refuses a request that the guard does not let in.
func (m *Mux) admit(w http.ResponseWriter, r *http.Request, service string, ep *endpoint, from string) error {
	if stopped := m.cfg.Guard.Stopped; stopped != nil && ep.effect == Write {
		if err := stopped(service, r.URL.Path); err != nil {
			return err
		}
	}
	if ep.effect == Public || ownProcess(r.Context()) || ep.open != nil && ep.open(r) {
		return nil
	}
	if ep.effect == Write || ep.effect == Login {
		if ok, after := m.cfg.Guard.Writes.Allow(from); !ok {
			m.Refused(ByAddress)
			return fault.Later(after, "too many requests from this address, try again later")
		}
	}
	err := m.authorize(w, r, ep.access)
	if err == nil {
		return nil
	}
	m.Refused(ByAccess)
	if denied := m.cfg.Guard.Denied; denied != nil && ep.effect == Write {
		if failed := denied(r.Context(), service, err); failed != nil {
			return failed
		}
	}
	return err
}

// ownProcess reports whether a process of this stack asks for itself.
func ownProcess(ctx context.Context) bool {
	p, ok := Peer(ctx)
	return ok && !p.Client.IsValid()
}

// Identified is for a handler that tells strangers less than its route does: it
// demands any credential that would be good for some access.
func (m *Mux) Identified(w http.ResponseWriter, r *http.Request) error {
	if ClientCertificate(r.Context()) != nil || ownProcess(r.Context()) {
		return nil
	}
	err := m.authenticate(w, r)
	if err != nil {
		m.Refused(ByAccess)
	}
	return err
}

// authorize demands what access says.
func (m *Mux) authorize(w http.ResponseWriter, r *http.Request, access Access) error {
	switch access {
	case Anonymous:
		return nil
	case Bearer:
		return m.authenticate(w, r)
	case MTLS:
		if ClientCertificate(r.Context()) == nil {
			return fault.New(fault.Forbidden, "this needs a TLS client certificate of an authority that this server accepts")
		}
		return nil
	default:
		return fault.New(fault.Forbidden, "this is for the stack's own services only")
	}
}

// authenticate demands a token that is good (RFC 6750 §3).
func (m *Mux) authenticate(w http.ResponseWriter, r *http.Request) error {
	token := BearerToken(r.Header)
	if token == "" {
		return fault.New(fault.NoCredentials, "this needs an ID token of an issuer that this server trusts, as Authorization: Bearer")
	}
	if m.cfg.Guard.Bearer == nil {
		return fault.New(fault.Forbidden, "no token is accepted here")
	}
	err := m.cfg.Guard.Bearer(r.Context(), token)
	switch fault.KindOf(err) {
	case fault.Unavailable, fault.Timeout, fault.Canceled: // says nothing of the token
		return err
	}
	if err != nil {
		w.Header().Set("WWW-Authenticate", challenge+`, error="invalid_token"`)
		return fault.Wrap(fault.NoCredentials, err, "the bearer token is not accepted: "+fault.Public(err))
	}
	return nil
}

// Cause is why something was refused, a label of the metric that counts it.
type Cause string

// The causes.
const (
	ByAddress    Cause = "address"     // rate of writes per address
	ByAccess     Cause = "access"      // credentials missing or not accepted
	ByRequests   Cause = "requests"    // too many at once
	ByBodyMemory Cause = "body_memory" // too many bytes held at once
	BySlowness   Cause = "slow"        // a body that did not arrive in time
	ByConnection Cause = "connection"  // a waiting connection made room for another
	ByIdentity   Cause = "identity"    // rate of certificates per identity
	ByIssuer     Cause = "issuer"      // rate of certificates per issuer
)

// Refused counts a refusal.
func (m *Mux) Refused(c Cause) { m.metrics.refused.WithLabelValues(string(c)).Inc() }
