package oidc_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"sigstack/services/oidc"
)

func TestConfigRefused(t *testing.T) {
	cheap, err := bcrypt.GenerateFromPassword([]byte("x"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	ldap := oidc.Connector{ID: "ldap", Type: "ldap", Name: "Directory", Config: json.RawMessage(`{"host":"ldap.example","userSearch":{}}`)}
	tests := []struct {
		name string
		edit func(*oidc.Config)
		want string
	}{
		{"no issuer", func(c *oidc.Config) { c.Issuer = "" }, "not an http or https URL"},
		{"issuer without scheme", func(c *oidc.Config) { c.Issuer = "localhost/dex" }, "not an http or https URL"},
		{"issuer of another scheme", func(c *oidc.Config) { c.Issuer = "ftp://localhost/dex" }, "not an http or https URL"},
		{"issuer at the root", func(c *oidc.Config) { c.Issuer = "http://localhost" }, "clean path"},
		{"issuer with final slash", func(c *oidc.Config) { c.Issuer = "http://localhost/dex/" }, "clean path"},
		{"issuer with dots", func(c *oidc.Config) { c.Issuer = "http://localhost/a/../dex" }, "clean path"},
		{"issuer with query", func(c *oidc.Config) { c.Issuer = "http://localhost/dex?a" }, "more than scheme, host and path"},
		{"issuer with fragment", func(c *oidc.Config) { c.Issuer = "http://localhost/dex#a" }, "more than scheme, host and path"},
		{"issuer with user", func(c *oidc.Config) { c.Issuer = "http://u@localhost/dex" }, "more than scheme, host and path"},
		{"issuer with escapes", func(c *oidc.Config) { c.Issuer = "http://localhost/d%2Fex" }, "more than scheme, host and path"},
		{"no directory", func(c *oidc.Config) { c.Dir = "" }, "no storage directory"},
		{"no secret", func(c *oidc.Config) { c.Secret = nil }, "secret of 0 bytes"},
		{"no clock", func(c *oidc.Config) { c.Now = nil }, "no clock"},
		{"no log", func(c *oidc.Config) { c.Log = nil }, "no log"},
		{"password grant without users", func(c *oidc.Config) {
			c.Users, c.Connectors = nil, []oidc.Connector{ldap}
		}, "password grant needs users"},
		{"user without address", func(c *oidc.Config) { c.Users[0].Email = "demo" }, "needs an e-mail address"},
		{"user without id", func(c *oidc.Config) { c.Users[0].UserID = "" }, "needs an e-mail address and an id"},
		{"user without hash", func(c *oidc.Config) { c.Users[0].PasswordHash = nil }, "bcrypt"},
		{"cheap hash", func(c *oidc.Config) { c.Users[0].PasswordHash = cheap }, "minimum cost"},
		{"same address in another case", func(c *oidc.Config) {
			twin := c.Users[0]
			twin.Email, twin.UserID = strings.ToUpper(twin.Email), "demo-2"
			c.Users = append(c.Users, twin)
		}, "is taken"},
		{"same user id", func(c *oidc.Config) {
			twin := c.Users[0]
			twin.Email = "other@sigstack.local"
			c.Users = append(c.Users, twin)
		}, "is taken"},
		{"connector without name", func(c *oidc.Config) {
			c.Connectors = []oidc.Connector{{ID: "ldap", Type: "ldap"}}
		}, `connector "ldap": name: missing`},
		{"connector of no type", func(c *oidc.Config) {
			c.Connectors = []oidc.Connector{{ID: "x", Type: "carrier-pigeon", Name: "x"}}
		}, `connector "x": type: "carrier-pigeon" is not known`},
		{"connector with our id", func(c *oidc.Config) {
			c.Connectors = []oidc.Connector{{ID: "local", Type: "ldap", Name: "x"}}
		}, "is taken"},
		{"two connectors of one id", func(c *oidc.Config) { c.Connectors = []oidc.Connector{ldap, ldap} }, "is taken"},
		{"connector with a misspelt field", func(c *oidc.Config) {
			c.Connectors = []oidc.Connector{{ID: "x", Type: "oidc", Name: "x", Config: json.RawMessage(`{"isuer":"https://a"}`)}}
		}, `connector "x": config.isuer: not known; docs/connectors.md has a sample of type oidc`},
		{"connector with a field of the wrong kind", func(c *oidc.Config) {
			c.Connectors = []oidc.Connector{{ID: "x", Type: "oidc", Name: "x", Config: json.RawMessage(`{"scopes":"email"}`)}}
		}, "config.scopes: want a list, not text"},
		{"connector without what a login needs", func(c *oidc.Config) {
			c.Connectors = []oidc.Connector{{ID: "x", Type: "github", Name: "x", Config: json.RawMessage(`{"clientid":"c","clientSecret":""}`)}}
		}, "config.clientSecret: missing"},
		{"connector with a strange id", func(c *oidc.Config) {
			c.Connectors = []oidc.Connector{{ID: "a b", Type: "mockCallback", Name: "x"}}
		}, `connector "a b": id: want`},
		{"another redirect", func(c *oidc.Config) {
			c.Connectors = []oidc.Connector{{ID: "x", Type: "github", Name: "x", Config: json.RawMessage(`{"clientID":"c","clientSecret":"s","redirectURI":"http://localhost/dex/callback"}`)}}
		}, `config.redirectURI: "http://localhost/dex/callback" is not where this issuer waits; leave it out, or say http://localhost:8080/dex/callback`},
		{"exchange of the wrong type", func(c *oidc.Config) {
			c.Connectors = []oidc.Connector{{ID: "x", Type: "mockCallback", Name: "x", Exchange: &oidc.Exchange{Audiences: []string{"a"}}}}
		}, "token_exchange: type mockCallback cannot tell"},
		{"exchange for anybody", func(c *oidc.Config) {
			c.Connectors = []oidc.Connector{{ID: "x", Type: "oidc", Name: "x", Config: json.RawMessage(`{"issuer":"https://a","clientID":"c"}`), Exchange: &oidc.Exchange{}}}
		}, "token_exchange.audiences"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(t, t.TempDir())
			tt.edit(&cfg)
			s, err := oidc.New(t.Context(), cfg)
			if err == nil {
				_ = s.Close()
				t.Fatalf("New succeeded, want an error with %q", tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, want an error with %q", err, tt.want)
			}
		})
	}
	t.Run("every problem at once", func(t *testing.T) {
		_, err := oidc.New(t.Context(), oidc.Config{PasswordGrant: true})
		for _, want := range []string{"http or https URL", "directory", "clock", "needs users"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("New = %v, want %q in it", err, want)
			}
		}
	})
}

func TestGeneratedPassword(t *testing.T) {
	password := oidc.GeneratePassword()
	if len(password) < 26 || password == oidc.GeneratePassword() {
		t.Errorf("password %q: want 26 characters or more, and another each time", password)
	}
	hash, err := oidc.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	if err := bcrypt.CompareHashAndPassword(hash, []byte(password)); err != nil {
		t.Errorf("the hash does not match: %v", err)
	}
	if cost, err := bcrypt.Cost(hash); err != nil || cost != 10 {
		t.Errorf("cost = %d, %v; want 10", cost, err)
	}
	if _, err := oidc.HashPassword(strings.Repeat("x", 73)); err == nil {
		t.Error("a password that bcrypt would cut off was hashed")
	}
}

// An upstream provider that is down at the start does not keep the others from
// logging in, and is asked again once it is back.
func TestUpstreamProvider(t *testing.T) {
	var up atomic.Bool
	var upstream *httptest.Server
	upstream = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(map[string]string{
			"issuer": upstream.URL, "jwks_uri": upstream.URL + "/keys",
			"authorization_endpoint": upstream.URL + "/auth", "token_endpoint": upstream.URL + "/token",
		}); err != nil {
			t.Error(err)
		}
	}))
	defer upstream.Close()
	i := start(t, func(c *oidc.Config) {
		conn, err := json.Marshal(map[string]string{
			"issuer": upstream.URL, "clientID": "sigstack", "clientSecret": "s",
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Connectors = []oidc.Connector{{ID: "corp", Type: "oidc", Name: "Corporate login", Config: conn}}
	})
	i.passwordToken(t)

	b := newBrowser(t, i)
	b.open(i.url + "/auth?" + newLogin(loopback).values.Encode())
	for _, name := range []string{"Corporate login", "E-mail and password"} {
		if !strings.Contains(b.page, name) {
			t.Errorf("the login page does not offer %q:\n%s", name, b.page)
		}
	}
	corporate := i.url + "/auth/corp?" + newLogin(loopback).values.Encode()
	if status := b.open(corporate); status != http.StatusBadRequest || b.left != nil {
		t.Errorf("login at a provider that is down: status %d, sent to %v", status, b.left)
	}
	up.Store(true)
	b.open(corporate)
	if b.left == nil || !strings.HasPrefix(b.left.String(), upstream.URL+"/auth?") {
		t.Fatalf("sent to %v, want the provider at %s", b.left, upstream.URL)
	}
	if got := b.left.Query().Get("redirect_uri"); got != i.url+"/callback" {
		t.Errorf("the provider is to send people to %q, want %s/callback", got, i.url)
	}
}

// A login that is down must not keep a log and a CA from starting. Its operator
// reads of it, without its secrets.
func TestOnlyUpstreamIsDown(t *testing.T) {
	var log bytes.Buffer
	i := start(t, func(c *oidc.Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		c.Users, c.PasswordGrant = nil, false
		c.Connectors = []oidc.Connector{{
			ID: "corp", Type: "oidc", Name: "Corporate login",
			Config: json.RawMessage(`{"issuer":"http://127.0.0.1:1","clientID":"c","clientSecret":"very secret"}`),
		}}
	})
	b := newBrowser(t, i)
	if status := b.open(i.url + "/auth?" + newLogin(loopback).values.Encode()); status != http.StatusBadRequest || !strings.Contains(b.page, "Connector failed to initialize") {
		t.Errorf("status %d, want 400 that blames the connector:\n%s", status, b.page)
	}
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "id=corp") {
		t.Errorf("the log has no error that names the connector:\n%s", log.String())
	}
	if strings.Contains(log.String(), "very secret") {
		t.Errorf("the log holds a secret:\n%s", log.String())
	}
}

// The log says who logged in, and holds nothing one could log in with.
func TestLogHoldsNoSecrets(t *testing.T) {
	var log bytes.Buffer
	i := start(t, func(c *oidc.Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	l := newLogin(loopback)
	code := i.code(t, l)
	_, answer := i.post(t, "/token", l.exchange(code))
	secrets := map[string]any{"password": userPassword, "code": code, "verifier": l.verifier}
	for _, name := range []string{"id_token", "access_token", "refresh_token"} {
		secrets[name] = answer[name]
	}
	if !strings.Contains(log.String(), userEmail) {
		t.Errorf("the log does not name the user:\n%s", log.String())
	}
	for name, secret := range secrets {
		value, _ := secret.(string)
		if value == "" || strings.Contains(log.String(), value) {
			t.Errorf("%s is empty or in the log:\n%s", name, log.String())
		}
	}
}
