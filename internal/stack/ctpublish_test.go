package stack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// TestAddsCTLogs: what the targets key signs adds CT logs, and nothing else.
func TestAddsCTLogs(t *testing.T) {
	log := func(spki []byte, more string) string {
		return fmt.Sprintf(`{"baseUrl":"https://a/ct","publicKey":{"rawBytes":%q}%s}`, base64.StdEncoding.EncodeToString(spki), more)
	}
	key := func() []byte {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		spki, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		return spki
	}
	a, b, c := key(), key(), key()
	root := func(rest string, logs ...string) tufroot.ReviewedTarget {
		return tufroot.ReviewedTarget{Data: []byte(`{"ctlogs":[` + strings.Join(logs, ",") + `]` + rest + `}`)}
	}
	const others = `,"tlogs":[1],"certificateAuthorities":[2]`
	usage := func(u string) tufroot.ReviewedTarget {
		return tufroot.ReviewedTarget{Custom: []byte(`{"sigstore":{"usage":"` + u + `"}}`)}
	}
	type files = map[string]tufroot.ReviewedTarget
	with := func(r tufroot.ReviewedTarget, more ...tufroot.ReviewedTarget) files {
		out := files{trust.TrustedRootName: r}
		for i, m := range more {
			out[fmt.Sprint("other", i)] = m
		}
		return out
	}
	for _, tt := range []struct {
		name          string
		before, after files
		want          []string // IDs
		err           string
	}{
		{"one", with(root(others, log(a, ""))), with(root(others, log(a, ""), log(b, "")), usage("CTFE")), []string{idOf(b)}, ""},
		{"two, and first", with(root(others, log(a, ""))), with(root(others, log(b, ""), log(c, ""), log(a, ""))), []string{idOf(b), idOf(c)}, ""},
		{"nothing but what was signed before", files{}, files{}, nil, ""},
		{"other files", files{}, files{"other": usage("CTFE")}, nil, "no CT log is added"},
		{"one goes", with(root(others, log(a, ""), log(b, ""))), with(root(others, log(a, ""), log(c, ""))), nil, "taken away"},
		{"one gets an end", with(root(others, log(a, ""))), with(root(others, log(a, `,"validFor":{}`), log(b, ""))), nil, "changed"},
		{"another log", with(root(others, log(a, ""))), with(root(`,"tlogs":[3],"certificateAuthorities":[2]`, log(a, ""), log(b, ""))), nil, "more than the CT logs"},
		{"another CA", with(root(others, log(a, ""))), with(root(`,"tlogs":[1],"certificateAuthorities":[2,4]`, log(a, ""), log(b, ""))), nil, "more than the CT logs"},
		{"another file", with(root(others, log(a, ""))), with(root(others, log(a, ""), log(b, "")), usage("Fulcio")), nil, "other0"},
		{"a file less", with(root(others, log(a, "")), usage("Rekor")), with(root(others, log(a, ""), log(b, ""))), nil, "other0"},
		{"a log without a key", with(root(others, log(a, ""))), with(root(others, log(a, ""), `{}`)), nil, "no key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := addsCTLogs(tufroot.Change{Before: tt.before, After: tt.after})
			if tt.err == "" && (err != nil || !slices.Equal(got, tt.want)) {
				t.Errorf("added %v, %v, want %v", got, err, tt.want)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || len(got) > 0) {
				t.Errorf("added %v, %v, want an error with %q", got, err, tt.err)
			}
		})
	}
}
