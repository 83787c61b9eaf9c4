package login

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

// The pages' elements; services/oidc/web/README.md lists them.
const (
	loginField    = "#login"
	passwordField = "#password"
	codeField     = "#user_code"
	submit        = "#submit-login"
	loginError    = "#login-error"
	deviceDone    = "#device-success"
	errorPage     = "#error"
	rememberMe    = "[name=remember_me]"
	clientsError  = "#login-failed" // on sigstack's own answer to the browser
)

// demoPassword is that of the user whom `sigstack up` made.
func demoPassword(t *testing.T, s *e2etest.Stack) string {
	t.Helper()
	_, password, found := strings.Cut(strings.TrimSpace(e2etest.ReadFile(t, filepath.Join(s.Dir, "demo-user"))), "\n")
	if !found {
		t.Fatal("demo-user has no second line")
	}
	return password
}

// fillIn enters a name and a password on the login page, sends them off, and
// returns the status of the page that answers.
func fillIn(b *e2etest.Browser, user, password string) int {
	b.Type(loginField, user)
	b.Type(passwordField, password)
	return b.Click(submit)
}

// want fails the test unless a page came with the status, and has the element.
func want(t *testing.T, b *e2etest.Browser, status, wantStatus int, element string) {
	t.Helper()
	if status != wantStatus || !b.Has(element) {
		t.Errorf("got the page %s with status %d, want one with status %d and %s:\n%s", b.URL(), status, wantStatus, element, b.Text())
	}
}

// enterCode sends a device code off, and returns the status of the page that
// answers.
func enterCode(t *testing.T, b *e2etest.Browser, page, code string) int {
	t.Helper()
	want(t, b, b.Open(page), http.StatusOK, codeField)
	b.Type(codeField, code)
	return b.Click(submit)
}
