package target

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sigstack/internal/signing/signingtest"
	"sigstack/internal/trust"
	"sigstack/tools/load/loadtest"
)

func TestParseTrustedRoot(t *testing.T) {
	now := time.Now()
	old, s := signingtest.New(t, time.Now), signingtest.New(t, time.Now)
	m, before := s.Material(t), old.Material(t)
	ended := trust.Window{Start: now.Add(-2 * time.Hour), End: now.Add(-time.Minute)}
	before.CAs[0].Window, before.CTLogs[0].Window, before.TSAs[0].Window, before.TLogs[0].Window = ended, ended, ended, ended
	m.CAs, m.TSAs = append(before.CAs, m.CAs...), append(before.TSAs, m.TSAs...)
	m.CTLogs, m.TLogs = append(before.CTLogs, m.CTLogs...), append(before.TLogs, m.TLogs...)
	data, err := m.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseTrustedRoot(data, s.URL+"/api/v1/timestamp", s.URL, now)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.CAChains) != 1 || !got.CAChains[0][0].Equal(s.Keys.CA.Chain[0]) || len(got.CAChains[0]) != 2 {
		t.Errorf("got %d chains of authorities, want the one that is valid", len(got.CAChains))
	}
	if len(got.CTKeys) != 1 || !s.Keys.CT.PublicKey.Equal(got.CTKeys[0]) {
		t.Errorf("got %d keys of CT logs, want the one that is valid", len(got.CTKeys))
	}
	if len(got.TSAChain) != 3 || !got.TSAChain[0].Equal(s.Keys.TSA.Chain[0]) {
		t.Errorf("got %d certificates of the timestamp authority, want those of the valid one", len(got.TSAChain))
	}
	if len(got.Rekor) != 2 || !s.Keys.Log.PublicKey.Equal(got.Rekor2) {
		t.Errorf("got %d keys of logs and %v at the URL, want both, and the second", len(got.Rekor), got.Rekor2)
	}
}

// FuzzParseTrustedRoot: what is accepted was in the file, and is not empty.
func FuzzParseTrustedRoot(f *testing.F) {
	s := signingtest.New(f, time.Now)
	root, _ := s.KitFiles(f)
	f.Add(root)
	f.Add([]byte(`{"tlogs":[{}]}`))
	f.Add([]byte(`{"timestampAuthorities":[{"certChain":{}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ParseTrustedRoot(data, "", s.URL, time.Now())
		if err != nil {
			return
		}
		var raw bytes.Buffer
		if err := json.Compact(&raw, data); err != nil {
			t.Fatalf("accepted what is no JSON: %v", err)
		}
		for _, chain := range append(got.CAChains, got.TSAChain) {
			for _, c := range chain {
				if c == nil || len(c.Raw) == 0 {
					t.Error("an empty certificate")
				}
			}
		}
		for _, key := range append(got.CTKeys, got.Rekor...) {
			if _, err := x509.MarshalPKIXPublicKey(key); err != nil {
				t.Errorf("a key that cannot be encoded: %v", err)
			}
		}
	})
}

func TestParsePEM(t *testing.T) {
	s := signingtest.New(t, time.Now)
	keys := loadtest.KeyPEM(s.Keys.CT.Public()) + "\n" + loadtest.KeyPEM(s.Keys.Log.Public())
	if got, err := ParseKeys([]byte(keys)); err != nil || len(got) != 2 || !s.Keys.Log.PublicKey.Equal(got[1]) {
		t.Errorf("got %d keys, %v", len(got), err)
	}
	chain := strings.Join(loadtest.PEMs(s.Keys.TSA.Chain...), "")
	if got, err := ParseChain([]byte(chain)); err != nil || len(got) != 3 || !got[2].Equal(s.Keys.TSA.Chain[2]) {
		t.Errorf("got %d certificates, %v", len(got), err)
	}
	for _, bad := range []string{"", "x", chain, keys[:len(keys)-30], keys + "x"} {
		if _, err := ParseKeys([]byte(bad)); err == nil {
			t.Errorf("%.40q: got keys", bad)
		}
	}
	if _, err := ParseChain([]byte(keys)); err == nil {
		t.Error("keys are taken for certificates")
	}
}

func TestParseLogInfo(t *testing.T) {
	got, err := parseLogInfo([]byte(`{"inactiveShards":[{"treeID":"5","treeSize":7},{"treeID":"3","treeSize":2}],"treeID":"9","treeSize":1,"rootHash":"00"}`))
	want := []treeInfo{{5, 7}, {3, 2}, {9, 1}}
	if err != nil || len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "{}", `{"treeID":"x"}`, `{"treeID":"-1"}`, `{"treeID":"1","treeSize":-1}`, `{"treeID":"1","inactiveShards":[{}]}`} {
		if _, err := parseLogInfo([]byte(bad)); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}

func TestReadIdentity(t *testing.T) {
	token := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".x"
	}
	id, err := readIdentity(token(`{"iss":"https://i","sub":"s","email":"a@b"}`))
	if err != nil || id.Email != "a@b" || id.URI != "" || id.Issuer != "https://i" || id.challenge != "a@b" {
		t.Errorf("got %+v, %v", id, err)
	}
	id, err = readIdentity(token(`{"iss":"https://i","sub":"https://x/y"}`))
	if err != nil || id.Email != "" || id.URI != "https://x/y" || id.challenge != id.URI {
		t.Errorf("got %+v, %v", id, err)
	}
	for _, bad := range []string{"", "secret", "a.secret", "a.!secret.c", token("secret"), token(`{"iss":"i"}`), token(`{"sub":"secret"}`), "a.b.c.d"} {
		if _, err := readIdentity(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

// FuzzReadIdentity: a certificate's names can be held against what is accepted,
// and errors do not quote the token.
func FuzzReadIdentity(f *testing.F) {
	f.Add("e30.eyJpc3MiOiJpIiwic3ViIjoicyJ9.x")
	f.Fuzz(func(t *testing.T, token string) {
		id, err := readIdentity(token)
		switch {
		case err != nil && len(token) > 20 && strings.Contains(err.Error(), token):
			t.Errorf("the error quotes %q", token)
		case err == nil && (id.token != token || id.Issuer == "" || (id.Email == "") == (id.URI == "") || id.challenge != id.Email+id.URI):
			t.Errorf("%q: got %+v", token, id)
		}
	})
}
