package stack_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// draftChain makes the next chain of a served directory, and drafts it.
func draftChain(t *testing.T, dir string, now time.Time) (stack.ChainDraft, []*x509.Certificate) {
	t.Helper()
	var key stack.ChainKey
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminChainKey, stack.ChainKeyOrder{}, &key); err != nil {
		t.Fatal(err)
	}
	chain, err := stack.IssueChain(key, filepath.Join(dir, "offline"), nil, keys.Devices{}, now)
	if err != nil {
		t.Fatal(err)
	}
	var draft stack.ChainDraft
	order := stack.ChainOrder{Certificates: pki.CertificatesPEM(chain), Key: key.Name}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminChainPrepare, order, &draft); err != nil {
		t.Fatal(err)
	}
	return draft, chain
}

func publishChains(t *testing.T, dir string, draft stack.ChainDraft, added []*x509.Certificate, now time.Time) {
	t.Helper()
	signed, err := draft.Sign(stack.Layout{Dir: dir}, targetsKey(t, dir), added, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminChainPublish, signed, nil); err != nil {
		t.Fatal(err)
	}
}

// closeChains closes what is retired, and returns the ends that were to be approved.
func closeChains(t *testing.T, dir string, now time.Time) (ends []stack.ChainEnd) {
	t.Helper()
	var draft stack.ChainDraft
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminChainClose, nil, &draft); err != nil {
		t.Fatal(err)
	}
	signed, err := draft.SignEnds(stack.Layout{Dir: dir}, targetsKey(t, dir), now, func(all []stack.ChainEnd) error { ends = all; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminChainPublish, signed, nil); err != nil {
		t.Fatal(err)
	}
	return ends
}

func prepareChain(t *testing.T, dir string, now time.Time) {
	t.Helper()
	draft, chain := draftChain(t, dir, now)
	publishChains(t, dir, draft, chain, now)
}

func useChain(t *testing.T, dir, key string) {
	t.Helper()
	edit(t, dir, func(c *config.Config) { c.CA.Key, c.CA.Chain = key, "keys/"+key+".chain.pem" })
}

func chainList(t *testing.T, dir string) []stack.ChainStatus {
	t.Helper()
	var list stack.ChainList
	if err := admin.Dial(dir).Get(t.Context(), stack.AdminChains, &list); err != nil {
		t.Fatal(err)
	}
	return list.Chains
}

func chainStates(t *testing.T, dir string) string {
	t.Helper()
	var words []string
	for _, c := range chainList(t, dir) {
		words = append(words, c.Key+" "+c.State)
	}
	return strings.Join(words, ", ")
}

// publishedCAs are the windows of the authorities in the kit's trusted root.
func publishedCAs(t *testing.T, dir string) (ends []string) {
	t.Helper()
	var root struct {
		CAs []struct {
			ValidFor struct{ Start, End string } `json:"validFor"`
		} `json:"certificateAuthorities"`
	}
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(dir, "client", trust.TrustedRootName))), &root); err != nil {
		t.Fatal(err)
	}
	for _, ca := range root.CAs {
		ends = append(ends, ca.ValidFor.End)
	}
	return ends
}

func reloaded(t *testing.T, dir string) (r stack.Reloaded, err error) {
	t.Helper()
	return r, admin.Dial(dir).Post(t.Context(), stack.AdminReload, nil, &r)
}

// TestChainFromPrepareToClose: published, refused before its time, used, gone back
// from, used again, closed, and not to be used any more then; and a start takes each.
func TestChainFromPrepareToClose(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	var c clock
	opts := options(dir, config.ProfileUp)
	opts.Now = c.now
	r := start(t, opts)
	refused := func(path string, in any, want string) {
		t.Helper()
		var refusal *admin.RefusedError
		if err := admin.Dial(dir).Post(t.Context(), path, in, nil); !errors.As(err, &refusal) || refusal.Status != http.StatusConflict || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a conflict that says %q", path, err, want)
		}
	}
	want := func(states string) {
		t.Helper()
		if got := chainStates(t, dir); got != states {
			t.Errorf("chains %s, want %s", got, states)
		}
	}
	want("ca active")
	refused(stack.AdminChainPublish, stack.SignedTargets{}, "prepare")
	refused(stack.AdminChainClose, nil, "nothing to close")
	draft, chain := draftChain(t, dir, c.now())
	want("ca active, ca-2 preparing")
	if n := len(publishedCAs(t, dir)); n != 1 {
		t.Errorf("%d authorities are published before anything was signed", n)
	}
	publishChains(t, dir, draft, chain, c.now())
	want("ca active, ca-2 prepared")
	refused(stack.AdminChainPrepare, stack.ChainOrder{Certificates: pki.CertificatesPEM(chain), Key: "ca-2"}, "published already")
	useChain(t, dir, "ca-2")
	if got, err := reloaded(t, dir); err != nil || len(got.Changed) > 0 || len(got.Waiting) != 1 {
		t.Errorf("reload before its time: %+v, %v, want that it waits", got, err)
	}
	if st := r.Status(); st.Reload == nil || !st.Reload.OK || st.Services["reload"].Status != "ok" {
		t.Errorf("status while it waits: %+v of %s", st.Reload, st.Status)
	}
	want("ca active, ca-2 prepared")
	c.add(time.Minute)
	if got, err := reloaded(t, dir); err != nil || len(got.Changed) != 1 || !strings.Contains(got.Changed[0], "with key ca-2, in place of") {
		t.Errorf("reload: %+v, %v", got, err)
	}
	want("ca retired, ca-2 active")
	useChain(t, dir, "ca")
	if _, err := reloaded(t, dir); err != nil {
		t.Errorf("going back: %v", err)
	}
	want("ca active, ca-2 retired")
	useChain(t, dir, "ca-2")
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	r = serve(t, opts) // a start takes what a reload would
	want("ca retired, ca-2 active")

	ends := closeChains(t, dir, c.now())
	if got := publishedCAs(t, dir); len(got) != 2 || got[0] == "" || got[1] != "" {
		t.Errorf("windows end at %q, want that of the first alone", got)
	}
	retired := chainList(t, dir)[0]
	if retired.End.Sub(retired.Retired) != stack.CloseAfter {
		t.Errorf("window of the retired chain ends %v after its use, want %v", retired.End.Sub(retired.Retired), stack.CloseAfter)
	}
	if len(ends) != 1 || ends[0].SHA256 != retired.SHA256 || ends[0].Subject != retired.Subject || !ends[0].End.Equal(retired.End) {
		t.Errorf("to be approved: %+v, want the end of %+v", ends, retired)
	}
	useChain(t, dir, "ca")
	if _, err := reloaded(t, dir); err == nil || !strings.Contains(err.Error(), "was closed") {
		t.Errorf("a closed chain: %v, want it refused", err)
	}
	var bundle struct{ Chains []any }
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v2/trustBundle", nil))
	if err := json.Unmarshal(rec.Body.Bytes(), &bundle); err != nil || len(bundle.Chains) != 2 {
		t.Errorf("trust bundle %s (%v), want both chains", rec.Body, err)
	}
}

// TestReloadRefusesUnpublishedChains: what clients do not trust is not issued with.
func TestReloadRefusesUnpublishedChains(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	serve(t, options(dir, config.ProfileUp))
	draftChain(t, dir, time.Now())
	before := readFile(t, filepath.Join(dir, "config.yaml"))
	for name, tt := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"chain that is not published":      {func(c *config.Config) { c.CA.Key, c.CA.Chain = "ca-2", "keys/ca-2.chain.pem" }, "ca.chain: the chain of .* is not in the trust material"},
		"chain of one, key of the other":   {func(c *config.Config) { c.CA.Chain = "keys/ca-2.chain.pem" }, "ca.chain: .*key"},
		"key of the other, chain of one":   {func(c *config.Config) { c.CA.Key = "ca-2" }, "ca.chain: .*key"},
		"no such file":                     {func(c *config.Config) { c.CA.Chain = "keys/none.pem" }, "ca.chain: .*none.pem"},
		"no such key":                      {func(c *config.Config) { c.CA.Key = "none" }, "ca.key: there is no key none"},
		"chain of the timestamp authority": {func(c *config.Config) { c.CA.Key, c.CA.Chain = "tsa", "keys/tsa.chain.pem" }, "ca.chain: "},
	} {
		edit(t, dir, tt.change)
		_, err := reloaded(t, dir)
		if err == nil || !regexp.MustCompile(`nothing was reloaded.*config\.yaml(?s:.*):\d+: `+tt.want).MatchString(err.Error()) {
			t.Errorf("%s: got %v, want it refused: %s", name, err, tt.want)
		}
		if got := chainStates(t, dir); got != "ca active, ca-2 preparing" {
			t.Errorf("%s: chains %s", name, got)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := reloaded(t, dir); err != nil || len(r.Changed) != 0 {
		t.Errorf("as it was: %+v, %v", r, err)
	}
}

// TestChainsAfterACrash: each state that a kill can leave starts, and what was going
// on can be gone on with.
func TestChainsAfterACrash(t *testing.T) {
	for name, tt := range map[string]struct {
		leave func(t *testing.T, dir string, c *clock) // ends with the stack not running
		want  string
	}{
		"key made": {func(t *testing.T, dir string, _ *clock) {
			during(t, dir, func() {
				if err := admin.Dial(dir).Post(t.Context(), stack.AdminChainKey, stack.ChainKeyOrder{}, nil); err != nil {
					t.Fatal(err)
				}
			})
		}, "ca active"},
		"drafted": {func(t *testing.T, dir string, _ *clock) {
			during(t, dir, func() { draftChain(t, dir, time.Now()) })
		}, "ca active, ca-2 preparing"},
		"published and not noted": {func(t *testing.T, dir string, _ *clock) {
			file, before := filepath.Join(dir, "chains.json"), ""
			during(t, dir, func() {
				draft, chain := draftChain(t, dir, time.Now())
				before = readFile(t, file)
				publishChains(t, dir, draft, chain, time.Now())
			})
			if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "ca active, ca-2 prepared"},
		"named early": {func(t *testing.T, dir string, _ *clock) {
			during(t, dir, func() { prepareChain(t, dir, time.Now()) })
			useChain(t, dir, "ca-2")
		}, "ca active, ca-2 prepared"},
		"named in time, not yet used": {func(t *testing.T, dir string, c *clock) {
			during(t, dir, func() { prepareChain(t, dir, time.Now()) })
			useChain(t, dir, "ca-2")
			c.add(time.Minute)
		}, "ca retired, ca-2 active"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
			var c clock
			tt.leave(t, dir, &c)
			opts := options(dir, config.ProfileUp)
			opts.Now = c.now
			serve(t, opts)
			if got := chainStates(t, dir); got != tt.want {
				t.Errorf("chains %s, want %s", got, tt.want)
			}
			if strings.HasSuffix(tt.want, "prepared") {
				return // it is published, and prepare would make the one after it
			}
			prepareChain(t, dir, c.now())
			if got := chainStates(t, dir); !strings.HasSuffix(got, " prepared") {
				t.Errorf("chains %s after another prepare", got)
			}
		})
	}
}

// during serves a directory while do runs.
func during(t *testing.T, dir string, do func()) {
	t.Helper()
	r := start(t, options(dir, config.ProfileUp))
	do()
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
}

// TestChainSignRefuses: the command signs one chain more, or ends of windows, and
// nothing else that a process asks for.
func TestChainSignRefuses(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	serve(t, options(dir, config.ProfileUp))
	draft, chain := draftChain(t, dir, time.Now())
	l, key := stack.Layout{Dir: dir}, targetsKey(t, dir)
	approve := func([]stack.ChainEnd) error { t.Error("ends of a draft without any are to be approved"); return nil }
	if _, err := draft.SignEnds(l, key, time.Now(), approve); err == nil || !strings.Contains(err.Error(), "not the one to be added") {
		t.Errorf("a chain where ends were asked for: got %v, want it refused", err)
	}
	other := []*x509.Certificate{chain[1]}
	for name, tt := range map[string]struct {
		draft stack.ChainDraft
		added []*x509.Certificate
		now   time.Time
		want  string
	}{
		"another chain than was asked for": {draft, other, time.Now(), "not the one to be added"},
		"a chain where none was asked for": {draft, nil, time.Now(), "no chain is to be added"},
		"an expired draft":                 {draft, chain, time.Now().AddDate(6, 0, 0), "expires at"},
		"no metadata":                      {stack.ChainDraft{Targets: []byte("{}")}, chain, time.Now(), "draft"},
		"a shard's draft":                  {stack.ChainDraft{Targets: shardDraft(t, dir)}, chain, time.Now(), "something else than the chains differs"},
	} {
		if _, err := tt.draft.Sign(l, key, tt.added, tt.now); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want it refused: %s", name, err, tt.want)
		}
	}
	// The shard's draft took the version number, not the turn: the chain's is still
	// the next.
	signed, err := draft.Sign(l, key, chain, time.Now())
	if err != nil {
		t.Fatalf("the draft itself: %v", err)
	}
	tampered, err := tufroot.SignTargets(bytes.Replace(signed.Targets, []byte(`"length": `), []byte(`"length": 1`), 1), key)
	if err == nil {
		err = admin.Dial(dir).Post(t.Context(), stack.AdminChainPublish, stack.SignedTargets{Targets: tampered}, nil)
	}
	if err == nil {
		t.Error("other targets than were drafted were published")
	}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminChainPublish, signed, nil); err != nil {
		t.Errorf("publish what was signed: %v", err)
	}
}

func shardDraft(t *testing.T, dir string) []byte {
	t.Helper()
	var draft stack.ShardDraft
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardPrepare, stack.ShardOrder{}, &draft); err != nil {
		t.Fatal(err)
	}
	return draft.Targets
}

// FuzzChains: what is taken is written again as the same.
func FuzzChains(f *testing.F) {
	dir := f.TempDir()
	f.Add([]byte(`{"version":1,"chains":[]}`))
	f.Add([]byte(`{"version":1,"chains":[{"certificates":"none"}]}`))
	f.Add(stack.SampleChains(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		once, err := stack.CheckChains(dir, data)
		if err != nil {
			return
		}
		again, err := stack.CheckChains(dir, once)
		if err != nil || !bytes.Equal(once, again) {
			t.Errorf("%q was taken, and written as %q, then %q, %v", data, once, again, err)
		}
	})
}
