package stack_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
	"sigstack/internal/trust"
)

// otherKey is the SPKI of a key that nothing live has.
func otherKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

// otherRoot is a certificate authority of that name that nothing live has.
func otherRoot(t *testing.T, name pkix.Name) []*x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root, err := pki.NewRoot(key, name, time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{root}
}

// otherTSA is a chain of another stack.
func otherTSA(t *testing.T) []*x509.Certificate {
	t.Helper()
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	chain, err := pki.ParseCertificatesPEM([]byte(readFile(t, filepath.Join(dir, "keys", "tsa.chain.pem"))))
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func entries(t *testing.T, dir string) (n uint64) {
	t.Helper()
	for _, s := range shards(t, dir).Shards {
		n += s.Size
	}
	return n
}

// TestPublicationIsHeldAgainstLiveServices breaks one thing at a time that the files
// do not show by themselves.
func TestPublicationIsHeldAgainstLiveServices(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	r := start(t, options(dir, config.ProfileUp))
	const url = "http://stack.test:8080"
	other := otherTSA(t)
	for _, tt := range []struct {
		name   string
		change func(m *trust.Material)
		check  string // "": nothing fails
		want   string
	}{
		{"as it is", func(*trust.Material) {}, "", ""},
		{"a key more", func(m *trust.Material) {
			more := m.TLogs[0]
			more.PublicKey, more.Window.Start, more.Idle = otherKey(t), time.Now(), true
			m.TLogs = append(slices.Clone(m.TLogs), more)
		}, "", ""},
		{"another key of the log", func(m *trust.Material) {
			m.TLogs = slices.Clone(m.TLogs)
			m.TLogs[0].PublicKey = otherKey(t)
		}, "tlog@" + url, "does not verify with the key that is to be published"},
		{"another host of the log", func(m *trust.Material) {
			at := "http://" + r.Address()
			m.TLogs, m.TLogServices = slices.Clone(m.TLogs), slices.Clone(m.TLogServices)
			m.TLogs[0].BaseURL, m.TLogServices[0].URL = at, at
		}, "tlog@http://" + r.Address(), `signed by the name "stack.test"`},
		{"another version of the log", func(m *trust.Material) {
			m.TLogs, m.TLogServices = slices.Clone(m.TLogs), slices.Clone(m.TLogServices)
			m.TLogs[0].APIVersion, m.TLogServices[0].APIVersion = 2, 2
		}, "tlog@" + url, "/api/v2/checkpoint: no service answers there"},
		{"a log that ended", func(m *trust.Material) {
			m.TLogs = slices.Clone(m.TLogs)
			m.TLogs[0].Window.End = time.Now().Add(-time.Minute)
		}, "tlog@" + url, "would not be trusted now"},
		{"another chain", func(m *trust.Material) {
			m.CAs = slices.Clone(m.CAs)
			m.CAs[0].Chain = otherRoot(t, pkix.Name{CommonName: "other", Organization: []string{"other"}})
		}, "ca@" + url, "is not in the trusted_root.json to be published"},
		{"a chain of the same name", func(m *trust.Material) {
			m.CAs = slices.Clone(m.CAs)
			m.CAs[0].Chain = otherRoot(t, m.CAs[0].Chain[0].Subject)
		}, "ca@" + url, "is not in the trusted_root.json to be published"},
		{"a chain that ended", func(m *trust.Material) {
			m.CAs = slices.Clone(m.CAs)
			m.CAs[0].Window.End = time.Now().Add(-time.Minute)
		}, "ca@" + url, "would not be trusted now"},
		{"a window after what was issued", func(m *trust.Material) {
			m.CAs = slices.Clone(m.CAs)
			m.CAs[0].Window.End = m.CAs[0].Window.Start
		}, "ctlog@" + url + "/ctlog", "is outside the window"},
		{"another timestamp authority", func(m *trust.Material) {
			m.TSAs = slices.Clone(m.TSAs)
			m.TSAs[0].Chain = other
		}, "tsa@" + url + "/api/v1/timestamp", "is not in the trusted_root.json to be published"},
		{"a timestamp authority elsewhere", func(m *trust.Material) {
			m.TSAs, m.TSAServices = slices.Clone(m.TSAs), slices.Clone(m.TSAServices)
			m.TSAs[0].URI, m.TSAServices[0].URL = url+"/stamp", url+"/stamp"
		}, "tsa@" + url + "/stamp", "no service answers there"},
		{"another issuer", func(m *trust.Material) {
			m.OIDCServices = slices.Clone(m.OIDCServices)
			m.OIDCServices[0].URL = url + "/issuer"
		}, "issuer@" + url + "/issuer", "no service answers there"},
		{"another key of the CT log", func(m *trust.Material) {
			m.CTLogs = slices.Clone(m.CTLogs)
			m.CTLogs[0].PublicKey = otherKey(t)
		}, "ctlog@" + url + "/ctlog", "tree head does not verify"},
		{"a CT log of others that is not there", func(m *trust.Material) {
			more := m.CTLogs[0]
			more.BaseURL, more.PublicKey = "http://127.0.0.1:1/ctlog", otherKey(t)
			m.CTLogs = append(slices.Clone(m.CTLogs), more)
		}, "ctlog@http://127.0.0.1:1/ctlog", "does not answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := r.Material()
			tt.change(&m)
			before := entries(t, dir)
			got, err := r.Flaws(t.Context(), m, tt.check != "")
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(got, func(f trust.Flaw) bool { return f.Check == tt.check && strings.Contains(f.What, tt.want) })
			live := slices.DeleteFunc(slices.Clone(got), func(f trust.Flaw) bool { return f.Check == trust.CheckTaken })
			if tt.check == "" && len(live) > 0 || tt.check != "" && i < 0 {
				// What was published may not go, which the files show before services are asked.
				t.Errorf("got %v, want %q %q", got, tt.check, tt.want)
			}
			if after := entries(t, dir); after != before {
				t.Errorf("a check that fails has left %d entries in the log", after-before)
			}
		})
	}
}

// TestPublicationLeavesOneEntry: that is the whole trace of the check by use.
func TestPublicationLeavesOneEntry(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "https://stack.test"}) // by the internal authority
	r := start(t, options(dir, config.ProfileUp))
	before := entries(t, dir)
	if got, err := r.Flaws(t.Context(), r.Material(), true); err != nil || len(got) > 0 {
		t.Fatalf("got %v, %v, want nothing", got, err)
	}
	if got := entries(t, dir); got != before+1 {
		t.Errorf("%d entries were added, want 1", got-before)
	}
}

// TestPublicationOfAStoppedStack: without a listener the same questions are asked by
// the inside, and nothing is entered.
func TestPublicationOfAStoppedStack(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	runUntilReady(t, options(dir, config.ProfileUp))
	s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	m := s.Material()
	if got, err := s.Flaws(t.Context(), m, true); err != nil || len(got) > 0 {
		t.Errorf("got %v, %v, want nothing", got, err)
	}
	m.OIDCServices = slices.Clone(m.OIDCServices)
	m.OIDCServices[0].URL += "2"
	if got, err := s.Flaws(t.Context(), m, true); err != nil || len(got) != 1 || !strings.HasPrefix(got[0].Check, "issuer@") {
		t.Errorf("got %v, %v, want that the issuer fails", got, err)
	}
}

// sums are the digests of what clients see of a directory.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, sub := range []string{"tuf", "client"} {
		err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.Contains(path, "/targets/") { // files that no metadata names are drafts
				return err
			}
			data, err := os.ReadFile(path)
			out[path] = fmt.Sprintf("%x", sha256.Sum256(data))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestRefusedPublicationChangesNothing: a URL that this machine does not reach
// refuses, with what to do; who knows why waives that check alone, and that is on
// record.
func TestRefusedPublicationChangesNothing(t *testing.T) {
	pass := []byte("a passphrase")
	dir := initDir(t, stack.InitConfig{
		Profile: config.ProfileServe, URL: "http://127.0.0.1:1", Passphrase: pass, OfflinePassphrase: []byte("another passphrase"),
		TLS: stack.InitTLS{BehindProxy: true},
	})
	opts := options(dir, config.ProfileServe)
	opts.Passphrase, opts.BehindProxy = pass, true
	start(t, opts)
	key, err := stack.TargetsKey(filepath.Join(dir, "offline"), []byte("another passphrase"), keys.Devices{})
	if err != nil {
		t.Fatal(err)
	}
	var draft stack.ShardDraft
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardPrepare, stack.ShardOrder{}, &draft); err != nil {
		t.Fatal(err)
	}
	signed, err := draft.Sign(stack.Layout{Dir: dir}, key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	before := sums(t, dir)
	for _, unchecked := range [][]string{nil, {"sign"}, {"tlog@http://127.0.0.1:1"}, {"files"}} {
		err = admin.Dial(dir).Post(t.Context(), stack.AdminShardPublish, stack.Publication{Targets: signed.Targets, Unchecked: unchecked}, nil)
		for _, want := range []string{"nothing was published: 1 check failed", "public-url: http://127.0.0.1:1 cannot be reached from this machine", "next: see that this machine", "--unchecked public-url"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("unchecked %v: got %v, want %q", unchecked, err, want)
			}
		}
	}
	if got := sums(t, dir); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("clients see %v, want what they saw, %v", got, before)
	}
	if got := states(shards(t, dir)); got != "tlog active, tlog-2 preparing" {
		t.Errorf("shards %s, want that the next is not published", got)
	}
	var st stack.ShardStatus
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardPublish, stack.Publication{Targets: signed.Targets, Unchecked: []string{"public-url"}}, &st); err != nil || st.State != stack.ShardPrepared {
		t.Errorf("unchecked public-url: got %+v, %v, want it published", st, err)
	}
	if got := records(t, dir); !strings.Contains(got, "publish.unchecked") || !strings.Contains(got, "public-url") {
		t.Errorf("the audit record says nothing of the check that was waived")
	}
}

// records is the text of the audit record.
func records(t *testing.T, dir string) (out string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "audit", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			out += readFile(t, name)
		}
	}
	return out
}
