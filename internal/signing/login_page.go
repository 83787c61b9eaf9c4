package signing

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"

	"sigstack/internal/look"
)

// callback answers the redirect that ends a login, with a page for people. The
// page waits for the verdict: nobody is told of a login that came to nothing.
type callback struct {
	http.Handler
	state, host string
	answers     chan loginAnswer // the first one counts; a reload brings another

	decided chan struct{} // closed once verdict is set
	verdict error         // nil: logged in
}

// loginAnswer is what the issuer's redirect brings.
type loginAnswer struct {
	code string
	err  error
}

func newCallback(state, host string) *callback {
	c := &callback{state: state, host: host, answers: make(chan loginAnswer, 1), decided: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+callbackPath, c.redirected)
	c.Handler = mux
	return c
}

// decide sets how the login ended; it is called once.
func (c *callback) decide(verdict error) {
	c.verdict = verdict
	close(c.decided)
}

// redirected takes the redirect. Requests with another state are not ours: they
// are turned away and the login goes on.
func (c *callback) redirected(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(c.state)) != 1 {
		c.write(w, http.StatusBadRequest, "this is not the login that sigstack waits for")
		return
	}
	got := loginAnswer{code: q.Get("code")}
	if got.code == "" {
		got.err = refusedLogin(q)
	}
	select {
	case c.answers <- got:
	default:
	}
	select {
	case <-c.decided:
	case <-r.Context().Done():
		return
	}
	if c.verdict != nil {
		c.write(w, http.StatusOK, c.verdict.Error())
		return
	}
	c.write(w, http.StatusOK, "")
}

// refusedLogin words an error answer (RFC 6749 §4.1.2.1).
func refusedLogin(q url.Values) error {
	why := q.Get("error")
	if why == "" {
		why = "neither a code nor an error"
	}
	if description := q.Get("error_description"); description != "" {
		why += ", " + description
	}
	return fmt.Errorf("log in: the issuer says %q", why)
}

// write answers with the page for failure, or for success if that is empty.
func (c *callback) write(w http.ResponseWriter, status int, failure string) {
	var page bytes.Buffer
	err := loginPage().Execute(&page, struct {
		Host, Failure string
		Style         template.CSS
		Mark          template.HTML
	}{c.host, failure, look.Style(), look.Mark()})
	if err != nil {
		panic("signing: login page cannot be rendered: " + err.Error())
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(page.Len()))
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+look.StyleSource()+"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Referrer-Policy", "no-referrer") // the address holds the code
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // the browser may be gone, the answer is in
}

// loginPage has the ids "logged-in", or "login-failed" and "login-error", by which
// tests know it.
func loginPage() *template.Template {
	return template.Must(template.New("login").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{if .Failure}}Not logged in{{else}}Logged in{{end}} – {{.Host}}</title>
<style>{{.Style}}</style>
</head>
<body>
<header class="brand">{{.Mark}}sigstack</header>
<main id="main">
{{if .Failure}}<h1 id="login-failed">You are not logged in</h1>
<p class="where">at <strong>{{.Host}}</strong></p>
<p class="note bad" id="login-error" role="alert">{{.Failure}}</p>
<p>Your terminal says the same. Close this page and start again there.</p>
{{else}}<h1 id="logged-in">You are logged in</h1>
<p class="where">at <strong>{{.Host}}</strong></p>
<p class="note good" role="status">Your terminal goes on by itself. You can close this page.</p>
{{end}}</main>
</body>
</html>
`))
}
