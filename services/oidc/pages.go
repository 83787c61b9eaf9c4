package oidc

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dexidp/dex/server/discovery"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/look"
)

//go:embed web/robots.txt web/templates
var webFiles embed.FS

// pages is what the issuer shows in a browser, besides what Dex renders from the
// same templates.
type pages struct {
	path   string           // of the issuer URL
	static map[string]asset // by path
	saml   map[string]bool  // paths that answer with Dex's form for a SAML provider

	templates *template.Template // those of our own
}

// asset is an answer that is the same for everybody.
type asset struct {
	contentType  string
	cacheControl string // empty: no-store
	data         []byte
}

// forever is for files that never change under their URL, which holds a version.
const forever = "public, max-age=604800, immutable"

// templateValues are what every template asks for by "extra".
func templateValues(issuer *url.URL, test bool) map[string]string {
	values := map[string]string{
		"host": issuer.Host, "url": issuer.Scheme + "://" + issuer.Host, "path": issuer.Path, "version": look.Version(),
	}
	if test {
		values["test"] = "yes"
	}
	return values
}

// webFS holds robots.txt and templates/, as Dex looks for them.
func webFS() (fs.FS, error) {
	web, err := fs.Sub(webFiles, "web")
	if err != nil {
		return nil, fmt.Errorf("read pages: %w", err)
	}
	return web, nil
}

// newPages renders what never changes.
func newPages(issuer *url.URL, cfg Config) (*pages, error) {
	web, err := webFS()
	if err != nil {
		return nil, err
	}
	values := templateValues(issuer, cfg.Test)
	// Parsing the others too would need every function of Dex's.
	t, err := template.New("").Funcs(template.FuncMap{"extra": func(key string) string { return values[key] }}).
		ParseFS(web, "templates/head.html", "templates/body.html", "templates/where.html", "templates/end.html", "templates/home.html", "templates/limited.html")
	if err != nil {
		return nil, fmt.Errorf("read pages: %w", err)
	}
	var home bytes.Buffer
	if err := t.ExecuteTemplate(&home, "home.html", nil); err != nil {
		return nil, fmt.Errorf("render home page: %w", err)
	}
	page := asset{contentType: "text/html; charset=utf-8", data: home.Bytes()}
	saml := map[string]bool{}
	for _, c := range cfg.Connectors {
		saml[issuer.Path+"/auth/"+c.ID] = strings.HasPrefix(c.Type, "saml")
	}
	return &pages{path: issuer.Path, saml: saml, templates: t, static: map[string]asset{
		issuer.Path:                       page,
		issuer.Path + "/":                 page,
		issuer.Path + "/static/style.css": {"text/css; charset=utf-8", forever, []byte(look.Style())},
		issuer.Path + "/static/icon.svg":  {"image/svg+xml", forever, look.Icon()},
	}}, nil
}

// addDiscovery takes Dex's metadata and adds what holds for our one client, which
// has no secret: it authenticates with "none" (RFC 7591 §2). Libraries that go by
// the list send no made-up secret then.
func (p *pages) addDiscovery(ctx context.Context, issuer string, dex http.Handler) error {
	where := issuer + discoveryPath
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return fmt.Errorf("ask for metadata: %w", err)
	}
	resp, err := httpd.InProcess{Handler: dex}.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask for metadata: %w", err)
	}
	defer resp.Body.Close()
	var doc discovery.Document
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		return fmt.Errorf("read metadata: %w", err)
	}
	doc.AuthMethods = append([]string{"none"}, doc.AuthMethods...)
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("encode metadata: %w", err)
	}
	p.static[p.path+discoveryPath] = asset{contentType: "application/json", data: data}
	return nil
}

const discoveryPath = "/.well-known/openid-configuration" // OpenID Connect Discovery §4

// serve answers a request for a page of ours and reports whether it was one.
func (p *pages) serve(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	file, ok := p.static[r.URL.Path]
	if !ok {
		return false
	}
	if file.cacheControl != "" {
		w.Header().Set("Cache-Control", file.cacheControl)
	}
	httpd.WriteBytes(w, http.StatusOK, file.contentType, file.data)
	return true
}

// limited answers a login that has failed too often, with a page for people or the
// error that clients of the token endpoint understand.
func (p *pages) limited(w http.ResponseWriter, page bool, retryAfter time.Duration) {
	wait := max(retryAfter, time.Second).Round(time.Second)
	w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
	if !page {
		body, err := json.Marshal(map[string]string{
			"error": "temporarily_unavailable", "error_description": "too many failed logins, try again in " + wait.String(),
		})
		if err != nil {
			panic("oidc: error cannot be encoded: " + err.Error())
		}
		httpd.WriteBytes(w, http.StatusTooManyRequests, "application/json", body)
		return
	}
	p.limitedPage(w, "Too many logins or codes from here were wrong.", wait)
}

func (p *pages) limitedPage(w http.ResponseWriter, why string, wait time.Duration) {
	var out bytes.Buffer
	if err := p.templates.ExecuteTemplate(&out, "limited.html", struct{ Why, Wait string }{why, inWords(wait)}); err != nil {
		panic("oidc: page cannot be rendered: " + err.Error())
	}
	httpd.WriteBytes(w, http.StatusTooManyRequests, "text/html; charset=utf-8", out.Bytes())
}

// refused is an httpd.Page: browsers that send too many requests get a page, and
// programs the error body that they understand.
func (p *pages) refused(w http.ResponseWriter, r *http.Request, err error) bool {
	if fault.KindOf(err) != fault.Limited || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return false
	}
	p.setHeaders(w.Header(), r.URL.Path)
	wait := (max(fault.RetryAfterOf(err), time.Second) + time.Second - 1).Truncate(time.Second)
	w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
	p.limitedPage(w, "Too many requests came from your address, or from the network that you are in.", wait)
	return true
}

// inWords rounds up: who comes a little late gets in.
func inWords(d time.Duration) string {
	unit, n := "second", int(d.Seconds())
	if n > 90 {
		unit, n = "minute", (n+59)/60
	}
	if n != 1 {
		unit += "s"
	}
	return strconv.Itoa(n) + " " + unit
}

// setHeaders sets what holds for every answer; a handler may set another
// Cache-Control, as that of the public keys does. Nothing runs in a page or comes
// from elsewhere.
func (p *pages) setHeaders(h http.Header, path string) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", p.contentPolicy(path))
}

const basePolicy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"

// contentPolicy also says where forms lead. Browsers hold redirects after a form
// to it too: those of a password end at the client's listener on loopback. The
// form of a device code has no such limit, because it may lead to an outside
// login, whose own redirects nobody knows here; it holds no password.
func (p *pages) contentPolicy(path string) string {
	if p.saml[path] {
		return basePolicy + "; script-src " + samlScript
	}
	if strings.HasPrefix(path, p.path+"/device") {
		return basePolicy
	}
	return basePolicy + "; form-action 'self' http://localhost:* http://127.0.0.1:*"
}

// samlScript is the script that sends Dex's form to a SAML provider; it is the
// only one of all pages, and its text never changes.
const samlScript = "'sha256-DTNhELwlDwbVGE0gtwVJwQ5h5s9JyshdD130wxP9sog='"

// samlPage gives that form a button, for browsers that run no script.
type samlPage struct{ http.ResponseWriter }

// Write gets the whole page in one call.
func (w samlPage) Write(page []byte) (int, error) {
	const end = "</form>"
	button := []byte(`<noscript><button type="submit" id="submit-login">Continue to the login</button></noscript>` + end)
	if _, err := w.ResponseWriter.Write(bytes.Replace(page, []byte(end), button, 1)); err != nil {
		return 0, err
	}
	return len(page), nil
}
