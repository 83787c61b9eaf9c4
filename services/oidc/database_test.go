package oidc_test

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"sigstack/internal/pgtest"
	"sigstack/services/oidc"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// Two replicas on one database are one issuer: its keys, and what each has begun.
func TestReplicasAreOneIssuer(t *testing.T) {
	server, db := pgtest.Start(t)
	if _, err := oidc.MigrateDatabase(t.Context(), db.URL, "test_dex"); err != nil {
		t.Fatal(err)
	}
	shared := func(c *oidc.Config) {
		c.Issuer = "http://localhost:8080/dex" // the balancer's, for both
		c.Database = &oidc.Database{URL: db.URL, Schema: "test_dex", Connections: 4}
	}
	a, b := start(t, shared), start(t, shared)
	_, one := a.get(t, a.url+"/keys")
	if _, two := b.get(t, b.url+"/keys"); one != two || !strings.Contains(one, "kid") {
		t.Errorf("keys differ:\n%s\n%s", one, two)
	}
	form := passwordForm(userPassword)
	form.Set("scope", "openid email offline_access")

	status, answer := a.post(t, "/token", form)
	refresh, _ := answer["refresh_token"].(string)
	if status != http.StatusOK || refresh == "" {
		t.Fatalf("password grant: %d %v", status, answer)
	}
	form = url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "client_id": {oidc.ClientID}}
	if status, answer := b.post(t, "/token", form); status != http.StatusOK || answer["id_token"] == nil {
		t.Errorf("refresh at the other replica: %d %v", status, answer)
	}
	status, device := a.post(t, "/device/code", url.Values{"client_id": {oidc.ClientID}, "scope": {"openid email"}})
	if status != http.StatusOK {
		t.Fatalf("device code: %d %v", status, device)
	}
	code, _ := device["device_code"].(string)
	form = url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {code}, "client_id": {oidc.ClientID}}
	if status, answer := b.post(t, "/token", form); answer["error"] != "authorization_pending" {
		t.Errorf("poll at the other replica: %d %v", status, answer)
	}

	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, i := range []*issuer{a, b} {
		status, answer := i.post(t, "/token", passwordForm(userPassword))
		if status != http.StatusServiceUnavailable || answer["error"] != "temporarily_unavailable" {
			t.Errorf("without a database: %d %v", status, answer)
		}
		if status, body := i.get(t, i.url+"/keys"); status != http.StatusServiceUnavailable || strings.Contains(body, "host=") {
			t.Errorf("keys without a database: %d %s", status, body)
		}
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if status, answer := b.post(t, "/token", passwordForm(userPassword)); status != http.StatusOK {
		t.Errorf("once the database is back: %d %v", status, answer)
	}
}
