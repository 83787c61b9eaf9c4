package login

import (
	"net/http"
	"path/filepath"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/internal/config"
)

// The directory's people. One has no address, which no certificate can do
// without.
var (
	ann    = e2etest.Person{UID: "ann", Name: "Ann Ant", Mail: "ann@corp.example", Password: "ann's own password"}
	bob    = e2etest.Person{UID: "bob", Name: "Bob Bee", Mail: "bob@corp.example", Password: "bob's own password"}
	noMail = e2etest.Person{UID: "cat", Name: "Cat Cod", Password: "cat's own password"}
)

// startWithDirectory is a stack whose people are those of a directory, besides
// its own demo user.
func startWithDirectory(t *testing.T) (*e2etest.Stack, *e2etest.Directory) {
	t.Helper()
	d := e2etest.StartDirectory(t, ann, bob, noMail)
	return configure(t, func(s *e2etest.Stack, c *config.Config) {
		for _, d := range s.ServiceDirs("oidc") { // secrets are not copied between replicas
			e2etest.WriteFile(t, filepath.Join(d, "keys"), "corp-reader", e2etest.DirectoryBindPassword+"\n")
		}
		c.OIDC.Connectors = []config.Connector{{
			Type: "ldap", ID: "corp", Name: "Corp directory",
			Secrets: map[string]string{"bindPW": "keys/corp-reader"},
			Config: map[string]any{
				"host": d.Host, "insecureNoSSL": true, "bindDN": e2etest.DirectoryBindDN, "usernamePrompt": "Corp user",
				"userSearch": map[string]any{
					"baseDN": e2etest.DirectoryPeople, "filter": "(objectClass=inetOrgPerson)",
					"username": "uid", "idAttr": "uid", "emailAttr": "mail", "nameAttr": "cn",
				},
			},
		}}
	}), d
}

// A directory's people sign in their own names. Without the directory, the
// stack's own users still do, even when it is down at the start.
func TestDirectory(t *testing.T) {
	t.Parallel()
	s, d := startWithDirectory(t)
	b := e2etest.StartBrowser(t)
	t.Run("code", func(t *testing.T) {
		b, g := b.In(t), sigstack.inScript(t, s)
		page, code := g.deviceCode(t)
		want(t, b, enterCode(t, b, page, code), http.StatusOK, choose("corp"))
		want(t, b, b.Click(choose("corp")), http.StatusOK, passwordField)
		want(t, b, fillIn(b, bob.UID, bob.Password), http.StatusOK, deviceDone)
		g.wantSigned(t, s, bob.Mail)
	})
	t.Run("browser", func(t *testing.T) {
		b, g := b.In(t), cosign3.atTerminal(t, s)
		chooseDirectory(t, b, g.opened.wait(t))
		refuseDirectoryLogins(t, b, s)
		g.wantUnsigned(t)
		fillIn(b, ann.UID, ann.Password)
		b.WantText(cosign3.loggedIn)
		g.wantSigned(t, s, ann.Mail)
	})
	t.Run("nobody's address", func(t *testing.T) {
		b, g := b.In(t), sigstack.atTerminal(t, s)
		chooseDirectory(t, b, g.opened.wait(t))
		// No certificate can name somebody without one.
		want(t, b, fillIn(b, noMail.UID, noMail.Password), http.StatusInternalServerError, errorPage)
		g.wantUnsigned(t)
	})
	t.Run("down", func(t *testing.T) {
		d.Stop()
		b, g := b.In(t), cosign3.atTerminal(t, s)
		page := g.opened.wait(t)
		chooseDirectory(t, b, page)
		want(t, b, fillIn(b, ann.UID, ann.Password), http.StatusInternalServerError, errorPage)
		if status, body := e2etest.Get(t, s.URL+"/readyz"); status != http.StatusOK {
			t.Errorf("readyz: %d %s", status, body)
		}
		g.wantUnsigned(t)
		// The same login goes on with a user whom the stack knows itself.
		want(t, b, b.Open(page), http.StatusOK, choose("local"))
		want(t, b, b.Click(choose("local")), http.StatusOK, passwordField)
		fillIn(b, e2etest.DemoUser, demoPassword(t, s))
		b.WantText(cosign3.loggedIn)
		g.wantSigned(t, s, e2etest.DemoUser)
	})
	t.Run("down at the start", func(t *testing.T) {
		s.Stop()
		s = e2etest.Start(t, s.Dir)
		b, g := b.In(t), cosign3.atTerminal(t, s)
		want(t, b, b.Open(g.opened.wait(t)), http.StatusOK, choose("local"))
		want(t, b, b.Click(choose("local")), http.StatusOK, passwordField)
		fillIn(b, e2etest.DemoUser, demoPassword(t, s))
		g.wantSigned(t, s, e2etest.DemoUser)
	})
	t.Run("up again", func(t *testing.T) {
		s = e2etest.Start(t, s.Dir)
		d.Start()
		b, g := b.In(t), cosign3.atTerminal(t, s)
		chooseDirectory(t, b, g.opened.wait(t))
		fillIn(b, bob.UID, bob.Password)
		g.wantSigned(t, s, bob.Mail)
	})
}

// chooseDirectory opens a login and picks the directory's.
func chooseDirectory(t *testing.T, b *e2etest.Browser, page string) {
	t.Helper()
	want(t, b, b.Open(page), http.StatusOK, choose("local"))
	want(t, b, b.Click(choose("corp")), http.StatusOK, passwordField)
	b.WantText("Corp user")
}

// refuseDirectoryLogins tries, on the directory's login page, what it must not
// take for a login.
func refuseDirectoryLogins(t *testing.T, b *e2etest.Browser, s *e2etest.Stack) {
	t.Helper()
	for name, try := range map[string][2]string{
		"wrong password":    {ann.UID, "wrong"},
		"another's":         {ann.UID, bob.Password},
		"unknown":           {"nobody", ann.Password},
		"filter":            {"a*", ann.Password},
		"filter, broken up": {"ann)(uid=*", ann.Password},
		"reader":            {"reader", e2etest.DirectoryBindPassword},
		"local user":        {e2etest.DemoUser, demoPassword(t, s)},
	} {
		if status := fillIn(b, try[0], try[1]); status != http.StatusUnauthorized || !b.Has(loginError) {
			t.Errorf("%s: status %d, page %s:\n%s", name, status, b.URL(), b.Text())
		}
	}
}
