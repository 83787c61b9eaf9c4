package oidc_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/services/oidc"
)

// TestStrangersCauseNoErrors: what anybody can send wakes nobody, and is logged.
func TestStrangersCauseNoErrors(t *testing.T) {
	var log bytes.Buffer
	i := start(t, func(c *oidc.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, path := range []string{
		"/auth?client_id=nobody", "/auth/local?client_id=nobody&response_type=code", "/auth/nobody?" + newLogin(loopback).values.Encode(),
		"/auth/local?" + newLogin("http://evil.example/").values.Encode(), "/callback?state=nobody", "/callback/local?state=nobody",
		"/auth/local/login?state=nobody", "/device/callback?state=a&code=b", "/approval?req=x&hmac=x", "/userinfo", "/static/x", "/nothing", "/logout", "/mfa/totp", "/mfa/webauthn",
	} {
		i.get(t, i.url+path)
	}
	for _, form := range []url.Values{
		{"grant_type": {"magic"}},
		passwordForm("wrong"),
		{"grant_type": {"authorization_code"}, "client_id": {"sigstore"}, "code": {"x"}},
		{"grant_type": {"refresh_token"}, "client_id": {"sigstore"}, "refresh_token": {"x"}},
	} {
		i.post(t, "/token", form)
	}
	i.post(t, "/token/introspect", url.Values{"token": {"x"}})
	b := newBrowser(t, i)
	b.open(i.url + "/auth?" + newLogin(loopback).values.Encode())
	b.submit(map[string]string{"login": userEmail, "password": "wrong"})
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("a stranger caused an error:\n%s", log.String())
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "unsupported grant type") && !strings.Contains(line, "level=INFO") {
			t.Errorf("a way in that is not offered is no warning: %s", line)
		}
	}
	if !strings.Contains(log.String(), "unsupported grant type") {
		t.Error("the log says nothing of an unsupported grant type")
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "Invalid credentials") {
		t.Errorf("the log has no warning of a wrong password:\n%s", log.String())
	}
}

// TestDeviceCodesForOurClientOnly: what is not answered is not stored either.
func TestDeviceCodesForOurClientOnly(t *testing.T) {
	i := start(t, nil)
	for _, client := range []string{"", "nobody", "Sigstore"} {
		status, answer := i.post(t, "/device/code", url.Values{"client_id": {client}, "scope": {"openid"}})
		if status != http.StatusUnauthorized || answer["error"] != "invalid_client" {
			t.Errorf("client %q: status %d, %v; want 401, invalid_client", client, status, answer)
		}
	}
	status, answer := i.post(t, "/device/code", url.Values{"client_id": {oidc.ClientID}, "scope": {strings.Repeat("x", 16<<10)}})
	if status != http.StatusRequestEntityTooLarge {
		t.Errorf("a long form: status %d, %v; want 413", status, answer)
	}
}

// TestStrangersMessagesAreDex: the table names messages that the pinned Dex has;
// one that it words otherwise would be an error again.
func TestStrangersMessagesAreDex(t *testing.T) {
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/dexidp/dex").Output()
	if err != nil {
		t.Fatalf("find Dex's source: %v", err)
	}
	source, err := exec.CommandContext(t.Context(), "cat", sources(t, filepath.Join(strings.TrimSpace(string(dir)), "server"))...).Output()
	if err != nil {
		t.Fatal(err)
	}
	lower := strings.ToLower(string(source))
	for message := range oidc.Strangers() {
		if !strings.Contains(lower, `"`+message+`"`) {
			t.Errorf("Dex does not say %q", message)
		}
	}
}

func sources(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s: %v", dir, err)
	}
	return files
}
