package oidc

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"sigstack/internal/look"
)

//go:embed web/robots.txt web/templates
var webFiles embed.FS

// pages is what the issuer shows in a browser, besides what Dex renders from the
// same templates.
type pages struct {
	path   string // of the issuer URL
	home   []byte
	static map[string]asset // by path
}

// asset is a file that never changes under its URL, which holds its version.
type asset struct {
	contentType string
	data        []byte
}

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
func newPages(issuer *url.URL, test bool) (*pages, error) {
	web, err := webFS()
	if err != nil {
		return nil, err
	}
	values := templateValues(issuer, test)
	// Parsing the others too would need every function of Dex's.
	t, err := template.New("").Funcs(template.FuncMap{"extra": func(key string) string { return values[key] }}).
		ParseFS(web, "templates/head.html", "templates/body.html", "templates/where.html", "templates/end.html", "templates/home.html")
	if err != nil {
		return nil, fmt.Errorf("read pages: %w", err)
	}
	var home bytes.Buffer
	if err := t.ExecuteTemplate(&home, "home.html", nil); err != nil {
		return nil, fmt.Errorf("render home page: %w", err)
	}
	return &pages{path: issuer.Path, home: home.Bytes(), static: map[string]asset{
		issuer.Path + "/static/style.css": {"text/css; charset=utf-8", []byte(look.Style())},
		issuer.Path + "/static/icon.svg":  {"image/svg+xml", look.Icon()},
	}}, nil
}

// serve answers a request for a page of ours and reports whether it was one.
func (p *pages) serve(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if r.URL.Path == p.path || r.URL.Path == p.path+"/" {
		write(w, asset{"text/html; charset=utf-8", p.home})
		return true
	}
	file, ok := p.static[r.URL.Path]
	if ok {
		w.Header().Set("Cache-Control", "public, max-age=604800, immutable")
		write(w, file)
	}
	return ok
}

func write(w http.ResponseWriter, a asset) {
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.data)))
	_, _ = w.Write(a.data) // the browser may be gone
}

// setHeaders sets what holds for every answer; a handler may set another
// Cache-Control, as that of the public keys does. Nobody may frame a login form,
// and nothing runs in a page or comes from elsewhere.
func (p *pages) setHeaders(h http.Header, path string) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", p.contentPolicy(path))
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

const basePolicy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"

// contentPolicy also says where forms lead. Browsers hold redirects after a form
// to it too: those of a password end at the client's listener on loopback. The
// form of a device code has no such limit, because it may lead to an outside
// login, whose own redirects nobody knows here; it holds no password.
func (p *pages) contentPolicy(path string) string {
	if strings.HasPrefix(path, p.path+"/device") {
		return basePolicy
	}
	return basePolicy + "; form-action 'self' http://localhost:* http://127.0.0.1:*"
}
