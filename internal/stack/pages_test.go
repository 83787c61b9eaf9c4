package stack_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// TestStartPage: it says where one is and what the root is, and its style is the
// one that its policy allows.
func TestStartPage(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // of a test's end
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	page := rec.Body.String()
	for _, want := range []string{"TEST ONLY", "stack.test:8080</strong>", s.RootSHA256(), `href="/client/root.json"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	_, rest, _ := strings.Cut(page, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	if policy := rec.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Errorf("policy %q does not allow the page's own style", policy)
	}
}
