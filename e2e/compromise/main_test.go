// Package compromise ends the trust in each kind of key of a whole stack and holds
// what clients then refuse, with trust by TUF alone, against the list that says so.
package compromise

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

// samples are files that were signed at one time, in every format.
type samples struct {
	file, own, bundle, legacy string
}

// sign signs a file with sigstack, with cosign 3 and with cosign 2.
func sign(t *testing.T, s *e2etest.Stack, dir, name string) samples {
	t.Helper()
	x := samples{file: e2etest.WriteFile(t, dir, name, name+"\n")}
	x.own, x.bundle, x.legacy = x.file+".sigstore.json", x.file+".v3", x.file+".v2"
	token := s.TokenEnv(t)
	e2etest.MustRun(t, []string{token}, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), x.file)
	s.SignWithCosign(t, x.file, x.bundle)
	env := []string{
		token, "SIGSTORE_ROOT_FILE=" + s.Kit("fulcio.crt.pem"), "SIGSTORE_REKOR_PUBLIC_KEY=" + s.Kit("rekor.pub"),
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + s.Kit("ctfe.pub"),
	}
	e2etest.MustRun(t, env, e2etest.Client(t, "cosign-v2"), "sign-blob", "--yes", "--rekor-url", s.URL,
		"--fulcio-url", s.URL, "--oidc-issuer", s.Issuer(), "--bundle", x.legacy, x.file)
	return x
}

// verdict is one client's, on one file.
type verdict struct {
	client   string
	accepted bool
	output   string
}

// verify asks every client, which knows nothing but the TUF repository and its root.
func verify(t *testing.T, s *e2etest.Stack, x samples) (out []verdict) {
	t.Helper()
	add := func(client string, env []string, name string, args ...string) {
		r := e2etest.Run(t, env, name, append(args, append(s.IdentityArgs(), x.file)...)...)
		out = append(out, verdict{client, r.Code == 0, r.Stdout + r.Stderr})
	}
	tuf := []string{"verify", "--tuf-url", s.URL + "/tuf", "--tuf-root", s.Kit("root.json")}
	add("sigstack", nil, e2etest.Sigstack(t), append(tuf, "--bundle", x.own)...)
	add("sigstack, cosign's bundle", nil, e2etest.Sigstack(t), append(tuf, "--bundle", x.bundle)...)
	for _, version := range []string{"cosign-v3", "cosign-v2"} {
		cosign, env := e2etest.Client(t, version), []string{"TUF_ROOT=" + t.TempDir()}
		e2etest.MustRun(t, env, cosign, "initialize", "--mirror", s.URL+"/tuf", "--root", s.Kit("root.json"))
		add(version, env, cosign, "verify-blob", "--new-bundle-format", "--bundle", x.bundle)
		add(version+", timestamps", env, cosign, "verify-blob", "--new-bundle-format", "--use-signed-timestamps", "--bundle", x.bundle)
		add(version+", old bundle", env, cosign, "verify-blob", "--new-bundle-format=false", "--bundle", x.legacy)
	}
	return out
}

// want fails the test unless every client accepts or refuses, but for those named.
func want(t *testing.T, what string, accepted bool, got []verdict, but ...string) {
	t.Helper()
	others := strings.Join(but, "|") + "|"
	for _, v := range got {
		if want := accepted != strings.Contains(others, v.client+"|"); v.accepted != want {
			t.Errorf("%s: %s accepted it: %v, want %v\n%s", what, v.client, v.accepted, want, v.output)
		}
	}
}

// listed is a line of the list.
type listed struct {
	What    string    `json:"what"`
	Trust   string    `json:"trust"`
	At      time.Time `json:"at"`
	Index   int       `json:"index"`
	UUID    string    `json:"uuid"`
	Subject string    `json:"subject"`
}

// end ends the trust in a key and returns the list.
func end(t *testing.T, s *e2etest.Stack, kind, key string, at time.Time, more ...string) []listed {
	t.Helper()
	args := append([]string{"compromise", kind, "--key", key, "--at", at.Format(time.RFC3339), "--dir", s.Dir, "--output", "json"}, more...)
	return readList(t, e2etest.MustRun(t, nil, e2etest.Sigstack(t), args...))
}

// readList reads a list that has one object a line, but for the others there.
func readList(t *testing.T, out string) (list []listed) {
	t.Helper()
	for line := range bytes.Lines([]byte(out)) {
		var l listed
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if l.What != "" {
			list = append(list, l)
		}
	}
	return list
}

// entryIndex is the index in the log of the entry in a bundle.
func entryIndex(t *testing.T, bundle string) int {
	t.Helper()
	var b struct {
		Material struct {
			Entries []struct {
				Index int `json:"logIndex,string"`
			} `json:"tlogEntries"`
		} `json:"verificationMaterial"`
	}
	if err := json.Unmarshal([]byte(e2etest.ReadFile(t, bundle)), &b); err != nil || len(b.Material.Entries) != 1 {
		t.Fatalf("%s: %v, %d entries", filepath.Base(bundle), err, len(b.Material.Entries))
	}
	return b.Material.Entries[0].Index
}

// moment returns a whole second that lies between what was signed before and what is
// signed afterwards: clients compare whole seconds.
func moment() time.Time {
	at := time.Now().UTC().Truncate(time.Second).Add(2 * time.Second)
	time.Sleep(time.Until(at.Add(1200 * time.Millisecond)))
	return at
}
