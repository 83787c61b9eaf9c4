package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/dexidp/dex/server/oauth2"
	"github.com/dexidp/dex/storage"

	"sigstack/services/oidc/record"
)

// Limits on one request, in bytes. Forms are short, but for a SAML response.
const (
	maxBody  = 256 << 10
	maxQuery = 16 << 10
	maxForm  = 16 << 10 // what a login sends is stored until it expires
)

// edge stands between the mux and Dex: it refuses what Dex would store or answer
// with an error of its own making, and mends two redirects.
type edge struct {
	dex   http.Handler
	pages *pages
	path  string // of the issuer URL
	log   *slog.Logger

	exchanges map[string]Exchange // by connector
	requests  authRequests

	auditReady func(context.Context) error
	storeReady func(context.Context) error
}

// authRequests are the logins under way. Getting is an error if there is none by
// that id, which nobody can guess.
type authRequests interface {
	GetAuthRequest(ctx context.Context, id string) (storage.AuthRequest, error)
	DeleteAuthRequest(ctx context.Context, id string) error
}

// ServeHTTP parses the request's form, which Dex then finds parsed.
func (e edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.pages.setHeaders(w.Header(), r.URL.Path)
	if e.pages.serve(w, r) {
		return
	}
	if status, err := checkForm(r); err != nil {
		oauth2.WriteErrorResponse(e.log, w, oauth2.InvalidRequest, err.Error(), status)
		return
	}
	if err := e.checkRequest(r); err != nil {
		oauth2.WriteErrorResponse(e.log, w, err.Type, err.Description, err.Status)
		return
	}
	if e.needsRecord(r) && e.auditReady(r.Context()) != nil { // it has logged why
		record.Unavailable(w)
		return
	}
	if err := e.storeReady(r.Context()); err != nil { // Dex would answer as if it were broken
		e.log.ErrorContext(r.Context(), "oidc storage", slog.Any("error", err))
		unavailable(w)
		return
	}
	e.mendDeviceRedirect(r)
	if e.pages.saml[r.URL.Path] {
		w = samlPage{w}
	}
	if strings.HasPrefix(r.URL.Path, e.path+"/callback") {
		w = e.mendCallback(w, r)
	}
	e.dex.ServeHTTP(w, r)
}

// unavailable answers, in the form of RFC 6749 §4.1.2.1, while the storage does not.
func unavailable(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "5")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"error":"temporarily_unavailable","error_description":"the issuer's storage does not answer; try again later"}` + "\n")) // who went away needs no answer
}

// needsRecord reports whether r may end in a login or a token, each of which is
// recorded. Reading and the beginning of a login are not.
func (e edge) needsRecord(r *http.Request) bool {
	below := strings.TrimPrefix(r.URL.Path, e.path)
	return r.Method == http.MethodPost || strings.HasPrefix(below, "/callback")
}

// checkForm parses the query and form of r. An error is fit for strangers and
// comes with the HTTP status to answer.
func checkForm(r *http.Request) (status int, err error) {
	if len(r.URL.RawQuery) > maxQuery {
		return http.StatusRequestURITooLong, fmt.Errorf("query is over the limit of %d bytes", maxQuery)
	}
	if err = r.ParseForm(); err == nil {
		err = r.ParseMultipartForm(maxBody) // never to disk: the body is no larger
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, fmt.Errorf("request body is over the limit of %d bytes", tooLarge.Limit)
	case err != nil && !errors.Is(err, http.ErrNotMultipart):
		return http.StatusBadRequest, errors.New("query or form is malformed")
	case !validUTF8(r.Form) || !utf8.ValidString(r.URL.Path):
		return http.StatusBadRequest, errors.New("a parameter is not UTF-8")
	}
	return 0, nil
}

// checkRequest refuses what Dex would store or answer without a look.
func (e edge) checkRequest(r *http.Request) *oauth2.Error {
	switch below := strings.TrimPrefix(r.URL.Path, e.path); {
	case below == "/token":
		return checkExchange(e.exchanges, r.PostForm)
	case below == "/device/code" && r.Form.Get("client_id") != ClientID:
		// Dex finds out when the code is used, with the code stored until then.
		return &oauth2.Error{Type: oauth2.InvalidClient, Description: "there is no such client", Status: http.StatusUnauthorized}
	case strings.HasPrefix(below, "/callback"):
		return nil // a SAML response is long
	}
	if formSize(r.Form) > maxForm {
		return oauth2.Errorf(oauth2.InvalidRequest, http.StatusRequestEntityTooLarge, "form is over the limit of %d bytes", maxForm)
	}
	return nil
}

func formSize(form url.Values) (n int) {
	for key, values := range form {
		n += len(key) + len(strings.Join(values, ""))
	}
	return n
}

// validUTF8 reports whether all of form is UTF-8, as RFC 6749 appendix B asks;
// storage keeps nothing else.
func validUTF8(form url.Values) bool {
	for key, values := range form {
		if !utf8.ValidString(key) || !utf8.ValidString(strings.Join(values, "")) {
			return false
		}
	}
	return true
}

// mendDeviceRedirect makes the device flow work below a path. Dex's own page
// sends the browser to the authorization endpoint with the callback's full path,
// yet for a public client that endpoint knows the callback only by its path
// below the issuer; it adds the issuer's path itself.
func (e edge) mendDeviceRedirect(r *http.Request) {
	below, ok := strings.CutPrefix(r.URL.Path, e.path+"/auth")
	if !ok || below != "" && below[0] != '/' {
		return
	}
	if r.Form.Get("redirect_uri") == e.path+oauth2.DeviceCallbackURI {
		r.Form.Set("redirect_uri", oauth2.DeviceCallbackURI)
	}
}

// mendCallback returns a writer that sends the browser back to the client when a
// login at a provider comes to nothing (OpenID Connect Core §3.1.2.6). Dex only
// shows a page, and the client, which waits at a loopback address, is not told.
func (e edge) mendCallback(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	id := r.FormValue("state")
	if r.Method == http.MethodPost {
		id = r.PostFormValue("RelayState") // of SAML
	}
	req, err := e.requests.GetAuthRequest(r.Context(), id)
	if err != nil {
		return w // Dex says what is wrong
	}
	to, err := url.Parse(req.RedirectURI)
	if err != nil || to.Scheme != "http" && to.Scheme != "https" {
		return w // a device polls, and a code by hand has a page only
	}
	return &backToClient{ResponseWriter: w, request: r, to: to, state: req.State, end: func() {
		if err := e.requests.DeleteAuthRequest(r.Context(), id); err != nil {
			e.log.WarnContext(r.Context(), "a failed login stays open until it expires", slog.Any("error", err))
		}
	}}
}

// backToClient turns an error page into a redirect with the error.
type backToClient struct {
	http.ResponseWriter
	request *http.Request
	to      *url.URL
	state   string
	end     func() // of the login
	done    bool
}

// WriteHeader redirects in place of an error.
func (b *backToClient) WriteHeader(status int) {
	if status < 400 {
		b.ResponseWriter.WriteHeader(status)
		return
	}
	b.done = true
	b.end()
	q := b.to.Query()
	q.Set("state", b.state)
	why, description := "server_error", "the login at the identity provider failed, the operator's log says why"
	switch given := b.request.FormValue("error"); {
	case given != "":
		why, description = errorText(given), errorText(b.request.FormValue("error_description"))
	case status == http.StatusForbidden:
		why, description = "access_denied", "not a member of a group that may log in here"
	}
	q.Set("error", why)
	if description != "" {
		q.Set("error_description", description)
	}
	b.to.RawQuery = q.Encode()
	http.Redirect(b.ResponseWriter, b.request, b.to.String(), http.StatusSeeOther)
}

// Write drops the page that WriteHeader has replaced.
func (b *backToClient) Write(p []byte) (int, error) {
	if b.done {
		return len(p), nil
	}
	return b.ResponseWriter.Write(p)
}

// errorText keeps what an error may consist of (RFC 6749 §4.1.2.1).
func errorText(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return -1
		}
		return c
	}, s)
	return s[:min(len(s), 200)]
}
