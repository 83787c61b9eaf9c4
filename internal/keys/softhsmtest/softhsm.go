// Package softhsmtest makes SoftHSM tokens for tests: each in a directory of its
// own, which can be taken away and put back as if the token had been pulled.
package softhsmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// PIN of every token. Tests look for it where it must not be.
const PIN = "8172635409"

// libraries are where distributions put SoftHSM's.
var libraries = []string{
	"/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so",
	"/usr/lib64/softhsm/libsofthsm2.so",
	"/usr/lib/*/softhsm/libsofthsm2.so",
}

// Token is an initialised token, empty at first.
type Token struct {
	Label   string
	Library string // absolute path
	PINFile string
	Conf    string // for the variable SOFTHSM2_CONF of processes that use the token

	dir   string
	stays map[string]bool // what Pull leaves: other tokens
}

// New makes a token and points this process's SoftHSM, and that of commands it
// runs, to it. SoftHSM reads where its tokens are when it is initialised, so a
// process that has used one token sees the next only after that.
func New(tb testing.TB, label string) *Token {
	tb.Helper()
	dir := tb.TempDir()
	t := &Token{
		Label: label, Library: library(tb), PINFile: filepath.Join(dir, "pin"),
		Conf: filepath.Join(dir, "softhsm2.conf"), dir: filepath.Join(dir, "tokens"),
	}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	conf := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", t.dir)
	for path, data := range map[string]string{t.Conf: conf, t.PINFile: PIN + "\n"} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	tb.Setenv("SOFTHSM2_CONF", t.Conf)
	makeToken(tb, label)
	return t
}

func makeToken(tb testing.TB, label string) {
	tb.Helper()
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", PIN+"0", "--pin", PIN).CombinedOutput()
	if err != nil {
		tb.Fatalf("make a token: %v\n%s", err, out)
	}
}

// Beside makes another token that the same library sees. Pull and Back are for
// that one alone; Break and Mend for both.
func (t *Token) Beside(tb testing.TB, label string) *Token {
	tb.Helper()
	stays, err := os.ReadDir(t.dir)
	if err != nil {
		tb.Fatal(err)
	}
	makeToken(tb, label)
	other := *t
	other.Label, other.stays = label, map[string]bool{}
	for _, e := range stays {
		other.stays[e.Name()] = true
	}
	return &other
}

func library(tb testing.TB) string {
	tb.Helper()
	for _, pattern := range libraries {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return found[0]
		}
	}
	tb.Fatal("SoftHSM is not on this machine: run make deps")
	return ""
}

// URI names the key with that label in the token.
func (t *Token) URI(object string) string {
	return fmt.Sprintf("pkcs11:token=%s;object=%s?module-path=%s&pin-source=file:%s", t.Label, object, t.Library, t.PINFile)
}

// Pull takes the token away; the library goes on without it.
func (t *Token) Pull(tb testing.TB) { t.move(tb, t.dir, t.dir+".pulled") }

// Back puts it back.
func (t *Token) Back(tb testing.TB) { t.move(tb, t.dir+".pulled", t.dir) }

func (t *Token) move(tb testing.TB, from, to string) {
	tb.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		tb.Fatal(err)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		if t.stays[e.Name()] {
			continue
		}
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			tb.Fatal(err)
		}
	}
}

// Break takes away what the library itself needs, so that it cannot even be
// initialised; Mend gives it back.
func (t *Token) Break(tb testing.TB) { rename(tb, t.dir, t.dir+".broken") }

// Mend undoes Break.
func (t *Token) Mend(tb testing.TB) { rename(tb, t.dir+".broken", t.dir) }

func rename(tb testing.TB, from, to string) {
	tb.Helper()
	if err := os.Rename(from, to); err != nil {
		tb.Fatal(err)
	}
}
