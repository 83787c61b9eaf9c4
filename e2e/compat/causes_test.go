package compat

import (
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
)

// TestClientsShowRefusals: with a cause in the error's details, each client still
// tells its user the sentence, and the token is nowhere in what it prints.
func TestClientsShowRefusals(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	token := s.Token(t)
	at := strings.LastIndexByte(token, '.') + 1
	forged := token[:at] + "AAAAAAAA" + token[at+8:]
	const want = "error processing the identity token: no key of the issuer verifies the signature"
	for _, c := range clients.All() {
		t.Run(c.Name(), func(t *testing.T) {
			dir := t.TempDir()
			r := clients.Request{
				Kind: clients.Blob, Trust: clients.TrustOf(s, clients.Kit), Token: forged,
				File: e2etest.WriteFile(t, dir, "blob", "hello\n"), Bundle: filepath.Join(dir, "bundle.json"),
			}
			if c.SignLimit(r) != nil {
				r.Kind, r.Trust.Source = clients.BlobLegacy, clients.Env // cosign 2
			}
			got := c.Sign(t, r)
			said := got.Stdout + got.Stderr
			if got.Code == 0 || !strings.Contains(said, want) {
				t.Errorf("exit code %d, %s\nwant a refusal with %q", got.Code, said, want)
			}
			if strings.Contains(said, forged) {
				t.Error("the client prints the token")
			}
		})
	}
}
