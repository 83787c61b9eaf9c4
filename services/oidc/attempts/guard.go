package attempts

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"sigstack/internal/httpd"
)

// Guard stands before Dex. Requests have their form parsed.
type Guard struct {
	*Limiter
	// Path of the issuer's URL, which Dex serves below.
	Path string
	// Local is the id of the connector of local passwords, which the password grant
	// asks too.
	Local string
	// Hashes are the bcrypt hashes of local accounts, by e-mail address in lower
	// case.
	Hashes map[string][]byte
	// Refuse answers a request that is over the limit; page says that people will
	// see it.
	Refuse func(w http.ResponseWriter, page bool, retryAfter time.Duration)
	// Away answers a login while what other replicas count cannot be known.
	Away func(w http.ResponseWriter, r *http.Request, err error)
}

// kind is what a request tries.
type kind int

const (
	nothing kind = iota
	form         // a password, on the login page
	grant        // a password, at the token endpoint
	code         // a code or token, at the token endpoint
	device       // the code of a device, on its page
)

// kind tells what r tries, at which connector and for whom.
func (g *Guard) kind(r *http.Request) (_ kind, connector, login string) {
	below := strings.TrimPrefix(r.URL.Path, g.Path)
	rest, isAuth := strings.CutPrefix(below, "/auth/")
	connector, isLogin := strings.CutSuffix(rest, "/login")
	switch {
	case isAuth && isLogin && r.Method == http.MethodPost:
		return form, connector, r.FormValue("login")
	case below == "/token" && r.Method == http.MethodPost && r.FormValue("grant_type") == "password":
		return grant, g.Local, r.FormValue("username")
	case below == "/token" && r.Method == http.MethodPost:
		return code, "", ""
	case strings.HasPrefix(below, "/device/auth/") && r.Method == http.MethodPost, below == "/device/callback":
		return device, "", ""
	}
	return nothing, "", ""
}

// Wrap returns dex behind g.
func (g *Guard) Wrap(dex http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k, connector, login := g.kind(r)
		if k == nothing {
			dex.ServeHTTP(w, r)
			return
		}
		addr := httpd.ClientAddr(r.Context())
		var a *Attempt
		var wait time.Duration
		if k == form || k == grant {
			// Some directories do not mind case or space, so neither does the limit.
			var err error
			a, wait, err = g.Login(r.Context(), addr, connector+"\x00"+strings.ToLower(strings.TrimSpace(login)))
			if err != nil {
				g.Away(w, r, err)
				return
			}
		} else {
			a, wait = g.Code(r.Context(), addr)
		}
		if a == nil {
			g.Refuse(w, k == form || k == device, wait)
			return
		}
		answer := &answer{ResponseWriter: w, kind: k, status: http.StatusOK}
		if connector == g.Local {
			password := r.FormValue("password")
			answer.beforeFailure = func() { g.spendTime(login, password) }
		}
		defer func() { a.End(answer.outcome()) }()
		dex.ServeHTTP(answer, r)
	})
}

// spendTime makes a login of an account that there is not take as long as one with
// a wrong password: Dex answers at once.
func (g *Guard) spendTime(login, password string) {
	if _, known := g.Hashes[strings.ToLower(login)]; known {
		return
	}
	for _, hash := range g.Hashes { // any will do: config check wants one cost for all
		if bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil {
			return // somebody else's password, which opens nothing here
		}
		return
	}
}

// answer watches what Dex answers.
type answer struct {
	http.ResponseWriter
	kind          kind
	beforeFailure func() // nil: nothing to do

	status int
	wrote  bool
	start  []byte // of the body
}

// maxStart is more than any error of the token endpoint has, in bytes.
const maxStart = 1 << 10

// WriteHeader notes the status.
func (a *answer) WriteHeader(status int) {
	if !a.wrote {
		a.wrote, a.status = true, status
		if status == http.StatusUnauthorized && a.beforeFailure != nil {
			a.beforeFailure()
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write notes the beginning of the body.
func (a *answer) Write(p []byte) (int, error) {
	a.wrote = true
	a.start = append(a.start, p[:min(len(p), maxStart-len(a.start))]...)
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) outcome() Outcome {
	switch {
	case a.kind == form && a.status == http.StatusSeeOther, a.kind == grant && a.status == http.StatusOK:
		return Succeeded
	case a.kind == form || a.kind == grant:
		if a.status == http.StatusUnauthorized {
			return Failed
		}
		return Unknown // no password was looked at
	case a.status < 400 || a.status >= 500 || a.kind == code && a.mayComeAgain():
		return Unknown
	}
	return Failed
}

// mayComeAgain reports whether a device was told to go on asking (RFC 8628 §3.5).
func (a *answer) mayComeAgain() bool {
	var e struct {
		Error string `json:"error"`
	}
	return json.Unmarshal(a.start, &e) == nil && (e.Error == "authorization_pending" || e.Error == "slow_down")
}
