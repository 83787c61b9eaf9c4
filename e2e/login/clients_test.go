package login

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

// client is a program that signs with a login.
type client struct {
	name    string
	command func(t *testing.T, s *e2etest.Stack, blob, bundle string) []string

	loggedIn string // on the page that the client answers the browser with

	refused string // pattern of what it says to an answer without a code

	device []string // what it needs to be told for want of a terminal, or to choose the device flow
	asks   bool     // whether a person must agree, on the terminal, to what gets public
}

var (
	cosign3 = client{
		name: "cosign-v3", command: cosign3Sign, asks: true,
		loggedIn: "authentication successful", refused: "Required param: code",
	}
	cosign2 = client{
		name: "cosign-v2", command: cosign2Sign, device: []string{"--yes"}, asks: true,
		loggedIn: "authentication successful", refused: "Required param: code",
	}
	sigstack = client{
		name: "sigstack", command: sigstackSign, device: []string{"--device"},
		loggedIn: "logged in", refused: "unsupported_response_type",
	}
	clients = []client{cosign3, cosign2, sigstack}
)

// cosign3Sign gets the kit's files and no other flag.
func cosign3Sign(t *testing.T, s *e2etest.Stack, blob, bundle string) []string {
	return []string{
		e2etest.Client(t, "cosign-v3"), "sign-blob", "--signing-config", s.Kit("signing_config.v0.2.json"),
		"--trusted-root", s.Kit("trusted_root.json"), "--bundle", bundle, blob,
	}
}

// cosign2Sign gets the services by flags, as it reads no signing configuration,
// and whom to trust from the kit's variables.
func cosign2Sign(t *testing.T, s *e2etest.Stack, blob, bundle string) []string {
	return []string{
		"sh", "-c", `. "$1"; shift; exec "$@"`, "sh", s.Kit("env.sh"),
		e2etest.Client(t, "cosign-v2"), "sign-blob", "--fulcio-url", s.URL, "--rekor-url", s.URL,
		"--oidc-issuer", s.Issuer(), "--timestamp-server-url", s.URL + "/api/v1/timestamp",
		"--new-bundle-format", "--bundle", bundle, blob,
	}
}

func sigstackSign(t *testing.T, s *e2etest.Stack, blob, bundle string) []string {
	return []string{e2etest.Sigstack(t), "sign", "--client", s.Kit(""), "--bundle", bundle, blob}
}

// signing is one signature under way, which waits for a login.
type signing struct {
	*e2etest.Conversation
	blob, bundle string
	opened       opened
}

// atTerminal starts a signature as a person does, and agrees to what it asks.
func (c client) atTerminal(t *testing.T, s *e2etest.Stack) signing {
	t.Helper()
	g := newSigning(t)
	line := c.command(t, s, g.blob, g.bundle)
	g.Conversation = e2etest.ConverseOnTerminal(t, g.opened.env(), line[0], line[1:]...)
	if c.asks {
		g.Hear(`\[y/N\]`)
		g.Say("y\n")
	}
	return g
}

// inScript starts a signature without a terminal, by the device flow.
func (c client) inScript(t *testing.T, s *e2etest.Stack) signing {
	t.Helper()
	g := newSigning(t)
	line := append(c.command(t, s, g.blob, g.bundle), c.device...)
	g.Conversation = e2etest.Converse(t, g.opened.env(), line[0], line[1:]...)
	return g
}

// withToken starts a signature that needs no login.
func (c client) withToken(t *testing.T, s *e2etest.Stack, token string) signing {
	t.Helper()
	g := newSigning(t)
	line := c.command(t, s, g.blob, g.bundle)
	if c.asks {
		line = append(line, "--yes")
	}
	g.Conversation = e2etest.Converse(t, append(g.opened.env(), "SIGSTORE_ID_TOKEN="+token), line[0], line[1:]...)
	return g
}

func newSigning(t *testing.T) signing {
	t.Helper()
	dir := t.TempDir()
	return signing{
		blob: e2etest.WriteFile(t, dir, "blob", t.Name()), bundle: filepath.Join(dir, "blob.sigstore.json"),
		opened: standInBrowser(t, dir),
	}
}

// wantSigned waits for the client's success and holds the bundle to the user's
// identity, by cosign and by sigstack.
func (g signing) wantSigned(t *testing.T, s *e2etest.Stack, user string) {
	t.Helper()
	g.MustEnd()
	identity := []string{"--certificate-identity", user, "--certificate-oidc-issuer", s.Issuer()}
	e2etest.WantAccepted(t, "cosign", s.VerifyWithCosign(t, g.blob, g.bundle, identity...))
	e2etest.WantAccepted(t, "sigstack", s.Verify(t, g.blob, g.bundle, identity...))
}

// wantUnsigned checks that nothing was signed.
func (g signing) wantUnsigned(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(g.bundle); !os.IsNotExist(err) {
		t.Errorf("there is a bundle, or stat says %v", err)
	}
}

// wantFailed waits for the client's failure, which says what pattern describes,
// and checks that nothing was signed.
func (g signing) wantFailed(t *testing.T, pattern string) {
	t.Helper()
	if code := g.End(); code == 0 {
		t.Errorf("exit %d, want a failure", code)
	}
	g.Hear(pattern)
	g.wantUnsigned(t)
}

// deviceCode is what the client tells people to enter, and where.
func (g signing) deviceCode(t *testing.T) (page, code string) {
	t.Helper()
	code = g.Hear(`\b[A-Z]{4}-[A-Z]{4}\b`)[0]
	u, err := url.Parse(g.Hear(`https?://\S+/device\b\S*`)[0])
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = ""
	return u.String(), code
}

// opened is where a stand-in for the desktop's xdg-open notes the page that a
// client opens.
type opened struct{ dir string }

func standInBrowser(t *testing.T, dir string) opened {
	t.Helper()
	o := opened{dir}
	// The note appears whole, by a rename.
	script := "#!/bin/sh\nprintf %s \"$1\" > " + o.note() + ".part && mv " + o.note() + ".part " + o.note() + "\n"
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o opened) note() string { return filepath.Join(o.dir, "opened") }

func (o opened) env() []string {
	return []string{"PATH=" + o.dir + string(filepath.ListSeparator) + os.Getenv("PATH"), "DISPLAY=:0"}
}

// wait returns the page that the client opened.
func (o opened) wait(t *testing.T) string {
	t.Helper()
	deadline := time.After(e2etest.ReadyWithin)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		note, err := os.ReadFile(o.note())
		switch {
		case err == nil && strings.HasPrefix(string(note), e2etest.Scheme()+"://"):
			return string(note)
		case err == nil:
			t.Fatalf("the client opened %q", note)
		case !os.IsNotExist(err):
			t.Fatal(err)
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatal("the client opened no page in a browser")
		}
	}
}
