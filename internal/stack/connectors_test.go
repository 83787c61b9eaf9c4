package stack_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// edit changes the configuration of the stack in dir.
func edit(t *testing.T, dir string, change func(*config.Config)) {
	t.Helper()
	conf, err := config.Load(filepath.Join(dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	change(conf)
	data, err := conf.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeSecret(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// TestSecretsOfConnectors logs in with a password that only a file holds, without
// the newline at its end.
func TestSecretsOfConnectors(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	writeSecret(t, filepath.Join(dir, "keys", "mock-password"), "correct horse \r\n", 0o600)
	edit(t, dir, func(c *config.Config) {
		c.OIDC.Connectors = []config.Connector{{
			Type: "mockPassword", ID: "mock", Name: "Mock",
			Config: map[string]any{"username": "ann"}, Secrets: map[string]string{"password": "keys/mock-password"},
		}}
	})
	s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // of a test's end
	for password, want := range map[string]int{
		"correct horse ": http.StatusSeeOther, "correct horse": http.StatusUnauthorized, "correct horse \r\n": http.StatusUnauthorized,
	} {
		if got := logIn(t, s.Handler(), "mock", password); got != want {
			t.Errorf("password %q: status %d, want %d", password, got, want)
		}
	}
}

// logIn fills in the password form of a connector and returns the status.
func logIn(t *testing.T, h http.Handler, connector, password string) int {
	t.Helper()
	ask := httptest.NewRequestWithContext(t.Context(), http.MethodGet,
		"/dex/auth/"+connector+"?client_id=sigstore&response_type=code&scope=openid+email&redirect_uri=http://localhost:1/", nil)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, ask)
	form := rec.Header().Get("Location")
	if rec.Code != http.StatusFound {
		t.Fatalf("login page: status %d\n%s", rec.Code, rec.Body)
	}
	post := httptest.NewRequestWithContext(t.Context(), http.MethodPost, form, strings.NewReader("login=ann&password="+strings.NewReplacer(" ", "+", "\r", "%0D", "\n", "%0A").Replace(password)))
	post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec = httptest.NewRecorder()
	h.ServeHTTP(rec, post)
	return rec.Code
}

// TestSecretsRefused: every one that cannot be had is named at once, and none is
// shown.
func TestSecretsRefused(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	writeSecret(t, filepath.Join(dir, "open"), "very secret", 0o640)
	writeSecret(t, filepath.Join(dir, "empty"), "\n", 0o600)
	writeSecret(t, filepath.Join(dir, "long"), strings.Repeat("x", 64<<10+1), 0o600)
	github := func(id, path string) config.Connector {
		return config.Connector{
			Type: "github", ID: id, Name: id,
			Config: map[string]any{"clientID": "c"}, Secrets: map[string]string{"clientSecret": path},
		}
	}
	edit(t, dir, func(c *config.Config) {
		misspelt := github("misspelt", "open")
		misspelt.Config["orgz"] = "x"
		c.OIDC.Connectors = []config.Connector{
			github("open", "open"), github("missing", "missing"), github("folder", "keys"),
			github("empty", filepath.Join(dir, "empty")), github("long", "long"), misspelt,
		}
	})
	s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err == nil {
		_ = s.Close()
		t.Fatal("the stack started")
	}
	for _, want := range []string{
		`connector "open": secrets.clientSecret: read secret: ` + filepath.Join(dir, "open") + " can be read by others (mode 0640): chmod 600",
		`connector "missing": secrets.clientSecret`, "no such file", `connector "folder"`, "not a regular file",
		`connector "empty"`, "holds 1 bytes", `connector "long"`, "oidc.connectors[5].config.orgz: not known",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "very secret") {
		t.Errorf("the error holds a secret:\n%v", err)
	}
}

// TestCheckConfigReadsNoSecret: a configuration can be checked by who may not
// read its secrets.
func TestCheckConfigReadsNoSecret(t *testing.T) {
	conf := &config.Config{URL: "http://stack.test", OIDC: &config.OIDC{Connectors: []config.Connector{{
		Type: "github", ID: "gh", Name: "GitHub",
		Config: map[string]any{"clientID": "c"}, Secrets: map[string]string{"clientSecret": "not-there"},
	}}}}
	if err := stack.CheckConfig(conf); err != nil {
		t.Error(err)
	}
	conf.OIDC.Connectors[0].Config["redirectURI"] = "http://elsewhere.test/callback"
	conf.OIDC.Connectors[0].Secrets["clientSecrt"] = "not-there"
	if err := stack.CheckConfig(conf); err == nil || !strings.Contains(err.Error(), "oidc.connectors[0].secrets.clientSecrt: not known") {
		t.Errorf("got %v, want the misspelt field", err)
	}
	if err := stack.CheckConfig(&config.Config{}); err != nil {
		t.Errorf("without an issuer: %v", err)
	}
}
