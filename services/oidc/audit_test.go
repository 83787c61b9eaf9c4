package oidc_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/audit"
	"sigstack/internal/audit/audittest"
	"sigstack/services/oidc"
)

// auditRecord stands in for the audit record.
type auditRecord struct{ audittest.Record }

// taken returns the events since the last call, each as action, outcome, subject
// and connector.
func (r *auditRecord) taken() (short []string, all []audit.Event) {
	all = r.Take()
	for _, e := range all {
		short = append(short, strings.Join([]string{e.Action, e.Outcome, e.Subject, e.Detail["connector"]}, " "))
	}
	return short, all
}

// recorded starts an issuer with a record.
func recorded(t *testing.T, edit func(*oidc.Config)) (*issuer, *auditRecord) {
	t.Helper()
	rec := &auditRecord{}
	return start(t, func(c *oidc.Config) {
		c.Audit, c.AuditReady = rec.Add, rec.Ready
		if edit != nil {
			edit(c)
		}
	}), rec
}

// What is on record of a login by password, and of its two tokens.
var (
	loggedIn = "oidc.login ok " + userEmail + " local"
	accessed = "oidc.token ok " + userEmail + " local"
)

func TestLoginsAndTokensAreOnRecord(t *testing.T) {
	i, rec := recorded(t, nil)
	l := newLogin(loopback)
	code := i.code(t, l)
	if got, all := rec.taken(); !slices.Equal(got, []string{loggedIn}) || all[0].Issuer != i.url || all[0].Detail["user_id"] != "demo-1" {
		t.Errorf("after the login: got %q, want %q: %+v", got, loggedIn, all)
	}
	_, answer := i.post(t, "/token", l.exchange(code))
	raw, _ := answer["id_token"].(string)
	refresh, _ := answer["refresh_token"].(string)
	checkTokens(t, rec, raw, "authorization_code", []string{"oidc.token ok " + userEmail + " ", "oidc.token ok " + userEmail + " "})

	_, answer = i.post(t, "/token", refreshForm(refresh))
	raw, _ = answer["id_token"].(string)
	checkTokens(t, rec, raw, "refresh_token", []string{"oidc.token ok " + userEmail + " ", "oidc.token ok " + userEmail + " "})

	raw = i.passwordToken(t)
	checkTokens(t, rec, raw, "password", []string{loggedIn, accessed, accessed})
}

// checkTokens wants events of one grant, and its token's id on record.
func checkTokens(t *testing.T, rec *auditRecord, raw, grant string, want []string) {
	t.Helper()
	got, all := rec.taken()
	if raw == "" || !slices.Equal(got, want) {
		t.Errorf("%s: got token of %d bytes and %q, want %q", grant, len(raw), got, want)
	}
	for _, e := range all {
		if e.Detail["grant"] != grant {
			t.Errorf("%s: grant is %q on record", grant, e.Detail["grant"])
		}
		if text := fmt.Sprint(e); strings.Contains(text, raw) || strings.Contains(text, userPassword) || strings.Contains(text, "eyJ") {
			t.Errorf("%s: a secret is on record: %s", grant, text)
		}
		if e.Action == audit.ActionToken && (e.Detail["token_id"] == "" || e.Detail["expires"] == "" || e.Detail["audience"] != oidc.ClientID) {
			t.Errorf("%s: detail %v", grant, e.Detail)
		}
	}
}

func TestExchangesAreOnRecord(t *testing.T) {
	provider := start(t, nil)
	rec := &auditRecord{}
	i := exchanger(t, provider, oidc.ClientID)
	i.edit = withRecord(i.edit, rec)
	i.restart(t)
	good := provider.passwordToken(t)
	if status, answer := i.post(t, "/token", exchangeForm(good)); status != http.StatusOK {
		t.Fatalf("status %d, %v", status, answer)
	}
	// The subject is the provider's, wrapped by Dex; the address is what counts.
	want := []string{"oidc.login ok " + userEmail + " ci", "oidc.token ok " + userEmail + " ci"}
	if got, _ := rec.taken(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if status, answer := i.post(t, "/token", exchangeForm(good[:len(good)-8]+"AAAAAAAA")); status < 400 {
		t.Fatalf("a forged token: status %d, %v", status, answer)
	}
	if got, _ := rec.taken(); !slices.Equal(got, []string{"oidc.login refused  ci"}) {
		t.Errorf("a forged token: got %q", got)
	}
}

func withRecord(edit func(*oidc.Config), rec *auditRecord) func(*oidc.Config) {
	return func(c *oidc.Config) {
		edit(c)
		c.Audit, c.AuditReady = rec.Add, rec.Ready
	}
}

func TestFailedLoginsAreOnRecord(t *testing.T) {
	i, rec := recorded(t, nil)
	for _, tt := range []struct {
		name, typed, account string
	}{
		{"wrong password", userEmail, userEmail},
		{"in another case", " " + strings.ToUpper(userEmail), userEmail},
		{"password in the wrong field", userPassword, "(unknown)"},
		{"one that looks like an e-mail address", "s3cret@winter.2026", "(unknown)"},
		{"somebody unknown", "ann@example.com", "(unknown)"},
	} {
		b := newBrowser(t, i)
		b.open(i.url + "/auth?" + newLogin(loopback).values.Encode())
		if status := b.submit(map[string]string{"login": tt.typed, "password": "wrong"}); status != http.StatusUnauthorized {
			t.Fatalf("%s: status %d, want 401", tt.name, status)
		}
		got, all := rec.taken()
		if !slices.Equal(got, []string{"oidc.login refused  local"}) || all[0].Detail["account"] != tt.account {
			t.Errorf("%s: got %q, %v; want a refusal of %q", tt.name, got, all, tt.account)
		}
		if tt.account == "(unknown)" && strings.Contains(fmt.Sprint(all), tt.typed) {
			t.Errorf("%s: what was typed is on record", tt.name)
		}
	}
	if status, _ := i.post(t, "/token", passwordForm("wrong")); status != http.StatusUnauthorized {
		t.Errorf("password grant: status %d, want 401", status)
	}
	if got, _ := rec.taken(); !slices.Equal(got, []string{"oidc.login refused  local"}) {
		t.Errorf("password grant: got %q", got)
	}
	if status, _ := i.post(t, "/token", refreshForm("nonsense")); status < 400 {
		t.Errorf("refresh: status %d", status)
	}
	if got, _ := rec.taken(); !slices.Equal(got, []string{"oidc.token refused  "}) {
		t.Errorf("refresh: got %q", got)
	}
}

// TestAccountsOfADirectory: which accounts there are only the directory knows, so
// that a name is on record once somebody has logged in by it.
func TestAccountsOfADirectory(t *testing.T) {
	i, rec := recorded(t, func(c *oidc.Config) {
		c.Connectors = []oidc.Connector{{ID: "corp", Type: "mockPassword", Name: "Corp", Config: json.RawMessage(`{"username": "ann", "password": "right"}`)}}
	})
	for _, step := range []struct {
		typed, password, want string
	}{
		{"ann", "wrong", "(unknown)"},
		{"ann", "right", ""},
		{"ann", "wrong", "ann"},
		{"right", "ann", "(unknown)"},
	} {
		b := newBrowser(t, i)
		b.open(i.url + "/auth/corp?" + newLogin(loopback).values.Encode())
		rec.taken()
		b.submit(map[string]string{"login": step.typed, "password": step.password})
		_, all := rec.taken()
		if len(all) != 1 || all[0].Detail["account"] != step.want {
			t.Errorf("%s, %s: got %v, want one event with account %q", step.typed, step.password, all, step.want)
		}
	}
}

// TestNoRecordNoLogin: while nothing can be recorded nobody logs in and no token is
// signed, and when it can again all is as before.
func TestNoRecordNoLogin(t *testing.T) {
	full := errors.New("no space left on device")
	i, rec := recorded(t, nil)
	l := newLogin(loopback)
	code := i.code(t, l)
	rec.taken()
	for _, tt := range []struct {
		name string
		down error
	}{{"known not to be ready", full}, {"full since", nil}} {
		rec.Fail(full, tt.down)
		b := newBrowser(t, i)
		b.open(i.url + "/auth?" + newLogin(loopback).values.Encode())
		if status := b.logIn(); status < 500 || b.left != nil {
			t.Errorf("%s: login: status %d, sent to %v; want an error", tt.name, status, b.left)
		}
		for name, form := range map[string]url.Values{"code": l.exchange(code), "password": passwordForm(userPassword), "wrong password": passwordForm("wrong")} {
			status, answer := i.post(t, "/token", form)
			if status < 500 || answer["id_token"] != nil || answer["access_token"] != nil {
				t.Errorf("%s: %s: status %d, %v; want an error", tt.name, name, status, answer)
			}
			if tt.down != nil && (status != http.StatusServiceUnavailable || answer["error"] != "temporarily_unavailable") {
				t.Errorf("%s: %s: status %d, %v; want 503, temporarily_unavailable", tt.name, name, status, answer)
			}
		}
		if got, _ := rec.taken(); len(got) != 0 {
			t.Errorf("%s: got %q on record", tt.name, got)
		}
	}
	rec.Fail(nil, nil)
	i.verify(t, i.passwordToken(t))
	l = newLogin(loopback)
	if status, answer := i.post(t, "/token", l.exchange(i.code(t, l))); status != http.StatusOK {
		t.Errorf("afterwards: status %d, %v", status, answer)
	}
}

// TestFailureAtAProviderIsOnRecord: who comes back from a provider without a login.
func TestFailureAtAProviderIsOnRecord(t *testing.T) {
	i, rec := recorded(t, func(c *oidc.Config) {
		c.Connectors = []oidc.Connector{{ID: "mock", Type: "mockCallback", Name: "Mock"}}
	})
	if status, _ := i.get(t, i.url+"/callback/mock?state=nosuchstate&error=access_denied"); status < 400 {
		t.Errorf("status %d, want an error", status)
	}
	if got, _ := rec.taken(); !slices.Equal(got, []string{"oidc.login refused  "}) {
		t.Errorf("got %q, want a refusal", got)
	}
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {oidc.ClientID}, "refresh_token": {token}}
}
