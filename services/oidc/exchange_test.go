package oidc_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/services/oidc"
)

const idToken = "urn:ietf:params:oauth:token-type:id_token"

// exchanger starts an issuer that trades tokens of provider for aud.
func exchanger(t *testing.T, provider *issuer, aud ...string) *issuer {
	t.Helper()
	conn, err := json.Marshal(map[string]any{"issuer": provider.url, "clientID": "ours"})
	if err != nil {
		t.Fatal(err)
	}
	return start(t, func(c *oidc.Config) {
		c.Connectors = []oidc.Connector{
			{ID: "ci", Type: "oidc", Name: "CI", Config: conn, Exchange: &oidc.Exchange{Audiences: aud, Only: true}},
			{ID: "people", Type: "oidc", Name: "Corporate login", Config: conn},
			{ID: "mock", Type: "mockCallback", Name: "Mock"},
		}
	})
}

func exchangeForm(token string) url.Values {
	return url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {oidc.ClientID},
		"connector_id": {"ci"}, "scope": {"openid email"},
		"subject_token": {token}, "subject_token_type": {idToken}, "requested_token_type": {idToken},
	}
}

func TestExchange(t *testing.T) {
	provider := start(t, nil)
	i := exchanger(t, provider, "another", oidc.ClientID)
	status, answer := i.post(t, "/token", exchangeForm(provider.passwordToken(t)))
	raw, _ := answer["access_token"].(string)
	if status != http.StatusOK || answer["issued_token_type"] != idToken {
		t.Fatalf("status %d, %v; want an ID token", status, answer)
	}
	if got := i.verifyClaims(t, raw); got.Email != userEmail || !got.EmailVerified {
		t.Errorf("claims %+v, want %s, verified", got, userEmail)
	}
}

// TestExchangeRefused: each case is the good one but for one fact.
func TestExchangeRefused(t *testing.T) {
	provider := start(t, nil)
	i := exchanger(t, provider, oidc.ClientID)
	good := provider.passwordToken(t)
	forged := good[:len(good)-8] + strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, good[len(good)-8:])
	tests := []struct {
		name   string
		edit   func(url.Values)
		status int
		want   string
	}{
		{"forged", func(f url.Values) { f.Set("subject_token", forged) }, http.StatusUnauthorized, "access_denied"},
		{"of another issuer", func(f url.Values) { f.Set("subject_token", i.passwordToken(t)) }, http.StatusUnauthorized, "access_denied"},
		{"no token", func(f url.Values) { f.Del("subject_token") }, http.StatusBadRequest, "invalid_request"},
		{"no JWT", func(f url.Values) { f.Set("subject_token", "a.b.c") }, http.StatusBadRequest, "invalid_request"},
		{"an access token", func(f url.Values) {
			f.Set("subject_token_type", "urn:ietf:params:oauth:token-type:access_token")
		}, http.StatusBadRequest, "invalid_request"},
		{"connector without exchange", func(f url.Values) { f.Set("connector_id", "people") }, http.StatusBadRequest, "invalid_request"},
		{"connector that takes any token", func(f url.Values) { f.Set("connector_id", "mock") }, http.StatusBadRequest, "invalid_request"},
		{"no connector", func(f url.Values) { f.Del("connector_id") }, http.StatusBadRequest, "invalid_request"},
		{"the local connector", func(f url.Values) { f.Set("connector_id", "local") }, http.StatusBadRequest, "invalid_request"},
		{"another client", func(f url.Values) { f.Set("client_id", "other") }, http.StatusUnauthorized, "invalid_client"},
		{"for another client", func(f url.Values) { f.Set("scope", "openid audience:server:client_id:other") }, http.StatusBadRequest, "invalid_scope"},
		{"for another audience", func(f url.Values) { f.Set("audience", "other") }, http.StatusBadRequest, "invalid_request"},
		{"unknown kind of token", func(f url.Values) { f.Set("requested_token_type", "saml") }, http.StatusBadRequest, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			form := exchangeForm(good)
			tt.edit(form)
			status, answer := i.post(t, "/token", form)
			if status != tt.status || tt.want != "" && answer["error"] != tt.want || answer["access_token"] != nil {
				t.Errorf("status %d, %v; want %d, %s", status, answer, tt.status, tt.want)
			}
		})
	}
	t.Run("audience of another service", func(t *testing.T) {
		strict := exchanger(t, provider, "ours") // the very same token, for somebody else
		status, answer := strict.post(t, "/token", exchangeForm(good))
		if status != http.StatusBadRequest || !strings.Contains(answer["error_description"].(string), "another audience") {
			t.Errorf("status %d, %v; want 400 for the audience", status, answer)
		}
	})
	t.Run("expired", func(t *testing.T) {
		provider.advance(-time.Hour)
		provider.restart(t) // it takes no clock that is set back
		old := provider.passwordToken(t)
		provider.advance(time.Hour)
		if status, answer := i.post(t, "/token", exchangeForm(old)); status != http.StatusUnauthorized {
			t.Errorf("status %d, %v; want 401", status, answer)
		}
	})
	t.Run("the grant is off", func(t *testing.T) {
		off := start(t, nil)
		if status, answer := off.post(t, "/token", exchangeForm(good)); status != http.StatusBadRequest || answer["access_token"] != nil {
			t.Errorf("status %d, %v; want 400", status, answer)
		}
	})
}

// TestExchangeOnlyIsNoLogin: people are not sent to where only machines go.
func TestExchangeOnlyIsNoLogin(t *testing.T) {
	i := exchanger(t, start(t, nil), oidc.ClientID)
	b := newBrowser(t, i)
	b.open(i.url + "/auth?" + newLogin(loopback).values.Encode())
	if strings.Contains(b.page, "connector-ci") || !strings.Contains(b.page, "connector-people") {
		t.Errorf("want the choice of people, not of ci:\n%s", b.page)
	}
	if status := b.open(i.url + "/auth/ci?" + newLogin(loopback).values.Encode()); status != http.StatusBadRequest || b.left != nil {
		t.Errorf("a login at ci: status %d, sent to %v; want 400", status, b.left)
	}
}

// FuzzAudiences: what is read from a stranger's token before its signature is
// checked is what every other reader of JSON finds there.
func FuzzAudiences(f *testing.F) {
	for _, seed := range []string{
		`{"aud":"a"}`, `{"aud":["a","b"]}`, `{"AUD":"a"}`, `{"aud":1}`, `{"aud":"a","aud":"b"}`, `[]`, ``, `{"aud":null}`, `{"aud":[1]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		got := oidc.Audiences("e30." + base64.RawURLEncoding.EncodeToString(payload) + ".e30")
		var claims map[string]any
		if json.Unmarshal(payload, &claims) != nil {
			claims = nil
		}
		var want []string
		switch aud := claims["aud"].(type) {
		case string:
			want = []string{aud}
		case []any:
			for _, one := range aud {
				if s, ok := one.(string); ok {
					want = append(want, s)
				}
			}
		}
		if len(got) > 0 && !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", payload, got, want)
		}
	})
}
