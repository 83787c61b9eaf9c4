package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"sigstack/e2e/e2etest"
)

func oidcRows() map[string]row {
	long := "?x=" + strings.Repeat("a", 17<<10)
	get := []badCase{
		{name: "unknown path", target: "/dex/nosuch", status: 404, shape: textError},
		{name: "path escape", target: "/dex/..%2fconfig.yaml", status: 404, shape: textError},
		{name: "path of null bytes", target: "/dex/%00", status: 404, shape: textError},
		{name: "path not UTF-8", target: "/dex/%ff", status: 400, shape: oauthError},
		{name: "static escape", target: "/dex/static/..%2f..%2f..%2fconfig.yaml", status: 404, shape: textError},
		{name: "query of 17 KiB", target: "/dex/auth" + long, status: 414, shape: oauthError},
		{name: "query badly escaped", target: "/dex/auth?client_id=%zz", status: 400, shape: oauthError},
		{name: "query not UTF-8", target: "/dex/auth?client_id=%ff", status: 400, shape: oauthError},
		{name: "login of nobody", target: "/dex/auth", status: 400, shape: pageError},
		{name: "login of an unknown client", target: "/dex/auth?client_id=nosuch&response_type=code&scope=openid", status: 400, shape: pageError},
		{name: "login back to a stranger", target: "/dex/auth/local?client_id=sigstore&response_type=code&scope=openid&redirect_uri=https%3A%2F%2Fevil.example", status: 400, shape: pageError},
		{name: "login by an unknown connector", target: "/dex/auth/nosuch?client_id=sigstore&response_type=code&scope=openid&redirect_uri=http%3A%2F%2Flocalhost", status: 400, shape: pageError},
		{name: "approval of nothing", target: "/dex/approval", status: 401, shape: pageError},
		{name: "callback of nothing", target: "/dex/callback", status: 400, shape: pageError},
		{name: "user info of nobody", target: "/dex/userinfo", status: 401, shape: oauthError},
		{name: "user info of a bad token", target: "/dex/userinfo", header: http.Header{"Authorization": {"Bearer x.y.z"}}, status: 403, shape: oauthError},
		{name: "token without a grant", target: "/dex/token", status: 400, shape: oauthError},
		{name: "login state of nobody", target: "/dex/auth/local/login?state=nosuch", status: 400, shape: pageError},
	}
	token := func(name, body string, status int) badCase {
		return badCase{name: name, body: body, header: form(), status: status}
	}
	post := []badCase{
		token("nothing", "", 400),
		token("unknown client", "grant_type=password&client_id=nosuch", 401),
		token("unknown grant", "grant_type=magic&client_id=sigstore", 400),
		token("grant twice", "grant_type=password&grant_type=password&client_id=sigstore", 400),
		token("no password", "grant_type=password&client_id=sigstore&scope=openid", 401),
		token("wrong password", "grant_type=password&client_id=sigstore&scope=openid&username="+e2etest.DemoUser+"&password=x", 401),
		token("password of a megabyte's hundredth", "grant_type=password&client_id=sigstore&scope=openid&username="+e2etest.DemoUser+"&password="+strings.Repeat("x", 10_000), 401),
		token("unknown scope", "grant_type=password&client_id=sigstore&scope=all", 400),
		token("unknown code", "grant_type=authorization_code&client_id=sigstore&code=nosuch", 400),
		token("unknown refresh token", "grant_type=refresh_token&client_id=sigstore&refresh_token=nosuch", 400),
		token("badly escaped", "grant_type=%zz", 400),
		token("not UTF-8", "grant_type=%ff", 400),
		token("null bytes", "grant_type=%00&client_id=%00", 400),
		{name: "JSON", body: `{"grant_type":"password"}`, status: 400},
		{name: "multipart that is none", body: "x", header: http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, status: 400},
		{name: "device code for nobody", target: "/dex/device/code", body: "client_id=", header: form(), status: 401},
		{name: "device code for an unknown client", target: "/dex/device/code", body: "client_id=nosuch", header: form(), status: 401},
		{name: "unknown user code", target: "/dex/device/auth/verify_code", body: "user_code=nosuch", header: form(), status: 400, shape: pageError},
		{name: "unknown path", target: "/dex/nosuch", status: 404, shape: textError},
	}
	return map[string]row{
		"GET /dex":   {"/dex", oauthError, ignored()}, // a page, whatever is asked
		"GET /dex/":  {"/dex/.well-known/openid-configuration", oauthError, get},
		"POST /dex/": {"/dex/token", oauthError, post},
	}
}

// fileRows are the trust root's and the kit's: no name leads out of its folder.
func fileRows(s *inProcess) map[string]row {
	return map[string]row{
		"GET /tuf/{name}":         {"/tuf/timestamp.json", restError, escapes("/tuf/", "config.yaml", "root.json", "counters.json", "lock")},
		"GET /tuf/targets/{name}": {s.target(), restError, escapes("/tuf/targets/", "../../config.yaml", "trusted_root.json", "..")},
		"GET /client/{name}":      {"/client/root.json", restError, escapes("/client/", "demo-user", ".env", "config.yaml")},
	}
}

// target finds a name below /tuf/targets/.
func (s *inProcess) target() string {
	files, err := filepath.Glob(filepath.Join(s.dir, "tuf", "targets", "*.trusted_root.json"))
	if err != nil || len(files) == 0 {
		panic(fmt.Sprintf("no trusted root among the targets: %v", err))
	}
	return "/tuf/targets/" + filepath.Base(files[0])
}

func escapes(prefix string, absent ...string) []badCase {
	names := []string{
		"..", "../config.yaml", "../../etc/passwd", "%2e%2e", "%2e%2e/config.yaml", "%2e%2e%2fconfig.yaml", "..%2fconfig.yaml",
		"..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd", "..%2fkeys%2fca.key", "..%5ckeys%5cca.key", "..\\demo-user", "%252e%252e%252fconfig.yaml",
		"%2fetc%2fpasswd", "/etc/passwd", ".", "%2e", "%00", "root.json%00", "root.json%00.txt", "%ff%fe", "root.json%2f..", "root.json/x",
		"root.json.", "ROOT.JSON", "*", "%2a.json", "~root", "con", strings.Repeat("a", 5000), strings.Repeat("..%2f", 500) + "etc%2fpasswd",
		"%c0%ae%c0%ae%c0%afconfig.yaml", "root.json;x", "1.root.json%20", "-1.root.json", "99999999999999999999.root.json", "99.root.json",
	}
	var cases []badCase
	for _, name := range append(names, absent...) {
		cases = append(cases, badCase{name: fmt.Sprintf("%.60s", name), target: prefix + name, status: 404})
	}
	return cases
}

func pageRows() map[string]row {
	page := func(path string) row { return row{path, restError, ignored()} }
	return map[string]row{
		"GET /":        page("/"),
		"GET /ping":    page("/ping"),
		"GET /healthz": page("/healthz"),
		"GET /readyz":  page("/readyz"),
		"GET /readyz/{service}": {"/readyz/ca", restError, []badCase{
			{name: "unknown service", target: "/readyz/nosuch", status: 404},
			{name: "escape", target: "/readyz/..%2fca", status: 404},
			{name: "null byte", target: "/readyz/ca%00", status: 404},
			{name: "not UTF-8", target: "/readyz/%ff", status: 404},
			{name: "a long one", target: "/readyz/" + strings.Repeat("a", 10_000), status: 404},
		}},
	}
}
