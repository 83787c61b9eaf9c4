package stack

import (
	"bytes"
	"html/template"
	"net/http"

	"sigstack/internal/httpd"
	"sigstack/internal/look"
)

// startPage tells a visitor where they are and what this root's fingerprint is.
var startPage = template.Must(template.New("start").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>sigstack – {{.Host}}</title>
<style>{{.Style}}</style>
</head>
<body>
{{if .Test}}<p class="banner" id="test-only"><strong>TEST ONLY.</strong> Trust nothing that this stack signs.</p>
{{end}}<header class="brand">{{.Mark}}sigstack</header>
<main id="main" class="wide">
<h1>A private Sigstore</h1>
<p class="where">at <strong id="instance">{{.Host}}</strong></p>
<p>Clients use <code>{{.URL}}</code>.</p>
<p>SHA-256 of the trust root, <a href="/client/root.json">root.json</a>:<br><code id="root-sha256">{{.RootSHA256}}</code><br>
Compare it with what your operator gave you by another way.</p>
<ul class="plain">
<li><a href="/client/README.txt">Client kit</a>: how to point a client at this stack</li>
<li><a href="/readyz">Readiness</a> of each service</li>
</ul>
</main>
</body>
</html>
`))

// mountPages adds the start page and /ping.
func (s *Stack) mountPages() error {
	var page bytes.Buffer
	err := startPage.Execute(&page, struct {
		Host, URL, RootSHA256 string
		Test                  bool
		Style                 template.CSS
		Mark                  template.HTML
	}{s.conf.HostPort(), s.conf.URL, s.rootSHA256, s.test(), look.Style(), look.Mark()})
	if err != nil {
		return err
	}
	g := s.mux.Group("pages", httpd.RESTErrors).As(httpd.Public)
	g.Handle(http.MethodGet, "/", 0, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src "+look.StyleSource()+"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		httpd.WriteBytes(w, http.StatusOK, "text/html; charset=utf-8", page.Bytes())
		return nil
	})
	g.Handle(http.MethodGet, "/ping", 0, func(w http.ResponseWriter, _ *http.Request) error {
		httpd.WriteBytes(w, http.StatusOK, "text/plain; charset=utf-8", nil)
		return nil
	})
	return nil
}
