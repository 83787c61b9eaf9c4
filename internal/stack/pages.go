package stack

import (
	"bytes"
	"html/template"
	"net/http"

	"sigstack/internal/httpd"
)

// startPage tells a visitor where they are and what this root's fingerprint is.
var startPage = template.Must(template.New("start").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>sigstack</title>
<meta name="viewport" content="width=device-width">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}
code{overflow-wrap:anywhere}</style></head><body>
<h1>sigstack</h1>
{{if .Test}}<p><strong>TEST ONLY.</strong> Trust nothing that this stack signs.</p>{{end}}
<p>A private Sigstore at <code>{{.URL}}</code>.</p>
<p>Trust root: <a href="/client/root.json">root.json</a>, SHA-256<br><code>{{.RootSHA256}}</code><br>
Compare it with what your operator gave you by another way.</p>
<ul><li><a href="/client/README.txt">Client kit</a></li>
<li><a href="/readyz">Readiness of each service</a></li></ul>
</body></html>
`))

// mountPages adds the start page and /ping.
func (s *Stack) mountPages() error {
	var page bytes.Buffer
	err := startPage.Execute(&page, struct {
		URL, RootSHA256 string
		Test            bool
	}{s.conf.URL, s.rootSHA256, s.test()})
	if err != nil {
		return err
	}
	g := s.mux.Group("pages", httpd.RESTErrors)
	g.Handle(http.MethodGet, "/", 0, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		httpd.WriteBytes(w, http.StatusOK, "text/html; charset=utf-8", page.Bytes())
		return nil
	})
	g.Handle(http.MethodGet, "/ping", 0, func(w http.ResponseWriter, _ *http.Request) error {
		httpd.WriteBytes(w, http.StatusOK, "text/plain; charset=utf-8", nil)
		return nil
	})
	return nil
}
