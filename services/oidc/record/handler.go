package record

import (
	"context"
	"net/http"
	"strings"

	"github.com/dexidp/dex/server/oauth2"

	"sigstack/internal/audit"
)

type contextKey struct{}

// attempt is what a request tries. The request's goroutine owns it.
type attempt struct {
	grant     string // of the token endpoint; "" elsewhere
	connector string
	typed     string // as the account's name; "" if none is typed
	cause     string // should it fail
	recorded  bool   // the login that the grant is
}

func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(contextKey{}).(*attempt)
	return a
}

// logsIn reports whether the grant is a login by itself.
func (a *attempt) logsIn() bool {
	return a.grant == oauth2.GrantTypePassword || a.grant == oauth2.GrantTypeTokenExchange
}

// Handler returns dex, but no failed login is answered that is not on record.
// Requests have their form parsed.
func (r *Recorder) Handler(dex http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		a := r.attempt(req)
		if a == nil {
			dex.ServeHTTP(w, req)
			return
		}
		req = req.WithContext(context.WithValue(req.Context(), contextKey{}, a))
		dex.ServeHTTP(&answer{ResponseWriter: w, recorder: r, request: req, attempt: a}, req)
	})
}

// attempt tells what a request tries, nil for what is no attempt to log in or to
// get a token.
func (r *Recorder) attempt(req *http.Request) *attempt {
	below := strings.TrimPrefix(req.URL.Path, r.Path)
	rest, isAuth := strings.CutPrefix(below, "/auth/")
	connector, isLogin := strings.CutSuffix(rest, "/login")
	switch {
	case isAuth && isLogin && req.Method == http.MethodPost:
		return &attempt{connector: connector, typed: req.FormValue("login"), cause: "wrong name or password"}
	case strings.HasPrefix(below, "/callback"):
		return &attempt{connector: r.connectorOf(req), cause: "the identity provider, or who came back from there, was refused"}
	case below == "/token" && req.Method == http.MethodPost:
		return r.tokenAttempt(req)
	}
	return nil
}

// connectorOf returns the connector of the login that a request comes back to.
func (r *Recorder) connectorOf(req *http.Request) string {
	id := req.FormValue("state")
	if req.Method == http.MethodPost {
		id = req.PostFormValue("RelayState") // of SAML
	}
	known, err := r.Requests.GetAuthRequest(req.Context(), id)
	if err != nil {
		return "" // there is none, so that there is no login either
	}
	return known.ConnectorID
}

// tokenAttempt tells grants apart. A device asks again and again until its user
// has logged in, which is no failure.
func (r *Recorder) tokenAttempt(req *http.Request) *attempt {
	a := &attempt{grant: req.FormValue("grant_type")}
	switch a.grant {
	case oauth2.GrantTypePassword:
		a.connector, a.typed, a.cause = r.Local, req.FormValue("username"), "wrong name or password"
	case oauth2.GrantTypeTokenExchange:
		a.connector, a.cause = req.FormValue("connector_id"), "the provider's token was refused"
	case oauth2.GrantTypeAuthorizationCode, oauth2.GrantTypeRefreshToken:
		a.cause = "the code or refresh token was refused"
	case oauth2.GrantTypeDeviceCode:
	default:
		return nil
	}
	return a
}

// answer records a failure before it is answered.
type answer struct {
	http.ResponseWriter
	recorder *Recorder
	request  *http.Request
	attempt  *attempt
	wrote    bool
	dropped  bool // the body is that of another answer
}

// WriteHeader records a failure.
func (a *answer) WriteHeader(status int) {
	if a.wrote {
		return
	}
	a.wrote = true
	outcome := a.outcome(status)
	if outcome == "" {
		a.ResponseWriter.WriteHeader(status)
		return
	}
	if err := a.recorder.Record(a.request.Context(), a.recorder.failure(a.attempt, outcome)); err != nil {
		a.dropped = true
		Unavailable(a.ResponseWriter)
		return
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write drops what belongs to an answer that is not given.
func (a *answer) Write(p []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	if a.dropped {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// outcome is that of a failed attempt, "" if it has not failed.
func (a *answer) outcome(status int) audit.Outcome {
	switch {
	case a.attempt.cause == "" || status < http.StatusBadRequest:
		return ""
	case status >= http.StatusInternalServerError:
		return audit.Failed
	default:
		return audit.Refused
	}
}

// failure is the event of one.
func (r *Recorder) failure(a *attempt, outcome audit.Outcome) audit.Event {
	e := audit.Event{
		Action: audit.ActionLogin, Outcome: outcome, Service: service,
		Detail: map[string]string{"cause": a.cause, "connector": a.connector, "account": r.account(a), "grant": a.grant},
	}
	if a.grant != "" && !a.logsIn() {
		e.Action = audit.ActionToken
	}
	if outcome == audit.Failed {
		e.Detail["cause"] = "the issuer or the identity provider failed"
	}
	return e
}

// Unavailable answers that nothing can be recorded, and so nobody log in.
func Unavailable(w http.ResponseWriter) {
	h := w.Header()
	h.Del("Content-Length")
	h.Set("Content-Type", "application/json")
	h.Set("Retry-After", "5")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(unavailable)) // who went away needs no answer
}

// unavailable is an error of RFC 6749 §4.1.2.1.
const unavailable = `{"error":"temporarily_unavailable","error_description":"the audit record cannot be written, so nobody can log in; try again later"}` + "\n"
