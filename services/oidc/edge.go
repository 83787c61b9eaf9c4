package oidc

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/dexidp/dex/server/oauth2"
)

// Limits on one request, in bytes. Forms are short, but for a SAML response.
const (
	maxBody  = 256 << 10
	maxQuery = 16 << 10
	maxForm  = 16 << 10 // what a login sends is stored until it expires
)

// edge stands between the mux and Dex: it refuses what Dex would store or answer
// with an error of its own making, and mends one redirect.
type edge struct {
	dex   http.Handler
	pages *pages
	path  string // of the issuer URL
	log   *slog.Logger

	exchanges map[string]Exchange // by connector
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
	e.mendDeviceRedirect(r)
	if e.pages.saml[r.URL.Path] {
		w = samlPage{w}
	}
	e.dex.ServeHTTP(w, r)
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
