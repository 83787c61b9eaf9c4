package replicas_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

// oneIssuer demands that both replicas show the same keys, and that a login that begins
// at one is known at the other.
func oneIssuer(t *testing.T, a, b *replica) {
	t.Helper()
	status, one := e2etest.Get(t, a.at+"/dex/keys")
	if status != http.StatusOK || !strings.Contains(string(one), `"kid"`) {
		t.Fatalf("keys at %s: %d %s", a.name, status, one)
	}
	if _, two := e2etest.Get(t, b.at+"/dex/keys"); string(two) != string(one) {
		t.Errorf("keys at %s: %s\nkeys at %s: %s", a.name, one, b.name, two)
	}
	status, begun := e2etest.Send(t, http.MethodPost, a.at+"/dex/device/code", "application/x-www-form-urlencoded",
		[]byte(url.Values{"client_id": {"sigstore"}, "scope": {"openid email"}}.Encode()))
	_, rest, _ := strings.Cut(string(begun), `"device_code":`)
	parts := strings.SplitN(rest, `"`, 3)
	if status != http.StatusOK || len(parts) != 3 {
		t.Fatalf("device code: %d %s", status, begun)
	}
	status, answer := e2etest.Send(t, http.MethodPost, b.at+"/dex/token", "application/x-www-form-urlencoded",
		[]byte(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {parts[1]}, "client_id": {"sigstore"}}.Encode()))
	if !strings.Contains(string(answer), "authorization_pending") {
		t.Errorf("a login begun at %s, asked for at %s: %d %s", a.name, b.name, status, answer)
	}
}
