package stack_test

import (
	"crypto/x509"
	"encoding/json"
	"errors"
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

func draftTSAChain(t *testing.T, dir string, now time.Time) (stack.ChainDraft, []*x509.Certificate) {
	t.Helper()
	var key stack.ChainKey
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminTSAChainKey, stack.ChainKeyOrder{}, &key); err != nil {
		t.Fatal(err)
	}
	chain, err := stack.IssueTSAChain(key, filepath.Join(dir, "offline"), nil, keys.Devices{}, now)
	if err != nil {
		t.Fatal(err)
	}
	var draft stack.ChainDraft
	order := stack.ChainOrder{Certificates: pki.CertificatesPEM(chain), Key: key.Name}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminTSAChainPrepare, order, &draft); err != nil {
		t.Fatal(err)
	}
	return draft, chain
}

func publishTSAChains(t *testing.T, dir string, draft stack.ChainDraft, added []*x509.Certificate, now time.Time) {
	t.Helper()
	signed, err := draft.SignOf(stack.TSA, stack.Layout{Dir: dir}, targetsKey(t, dir), added, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminTSAChainPublish, signed, nil); err != nil {
		t.Fatal(err)
	}
}

func prepareTSAChain(t *testing.T, dir string, now time.Time) {
	t.Helper()
	draft, chain := draftTSAChain(t, dir, now)
	publishTSAChains(t, dir, draft, chain, now)
}

func useTSAChain(t *testing.T, dir, key string) {
	t.Helper()
	edit(t, dir, func(c *config.Config) { c.TSA.Key, c.TSA.Chain = key, "keys/"+key+".chain.pem" })
}

func tsaChainList(t *testing.T, dir string) []stack.ChainStatus {
	t.Helper()
	var list stack.ChainList
	if err := admin.Dial(dir).Get(t.Context(), stack.AdminTSAChains, &list); err != nil {
		t.Fatal(err)
	}
	return list.Chains
}

func tsaChainStates(t *testing.T, dir string) string {
	t.Helper()
	var words []string
	for _, c := range tsaChainList(t, dir) {
		words = append(words, c.Key+" "+c.State)
	}
	return strings.Join(words, ", ")
}

// publishedTSAs are the timestamp authorities in the kit's trusted root.
func publishedTSAs(t *testing.T, dir string) []trust.Authority {
	t.Helper()
	root, err := trust.ParseTrustedRoot([]byte(readFile(t, filepath.Join(dir, "client", trust.TrustedRootName))))
	if err != nil {
		t.Fatal(err)
	}
	return root.TSAs
}

// kitTSA is the leaf that clients of files are told of.
func kitTSA(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	chain, err := pki.ParseCertificatesPEM([]byte(readFile(t, filepath.Join(dir, "client", trust.TSAPEMName))))
	if err != nil || len(chain) != 3 {
		t.Fatalf("%s has %d certificates, %v", trust.TSAPEMName, len(chain), err)
	}
	return chain[0]
}

// closeTSAChains ends what is retired.
func closeTSAChains(t *testing.T, dir string, now time.Time) (ends []stack.ChainEnd) {
	t.Helper()
	var draft stack.ChainDraft
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminTSAChainClose, nil, &draft); err != nil {
		t.Fatal(err)
	}
	signed, err := draft.SignEndsOf(stack.TSA, stack.Layout{Dir: dir}, targetsKey(t, dir), now, func(all []stack.ChainEnd) error { ends = all; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminTSAChainPublish, signed, nil); err != nil {
		t.Fatal(err)
	}
	return ends
}

// TestTSAChainFromPrepareToClose: published, waiting for its time, used, closed; both
// authorities have chains of their own, and each is drafted beside the other's.
func TestTSAChainFromPrepareToClose(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	var c clock
	opts := options(dir, config.ProfileUp)
	opts.Now = c.now
	r := start(t, opts)
	first := kitTSA(t, dir)
	want := func(states string) {
		t.Helper()
		if got := tsaChainStates(t, dir); got != states {
			t.Errorf("chains %s, want %s", got, states)
		}
	}
	want("tsa active")
	draft, chain := draftTSAChain(t, dir, c.now())
	want("tsa active, tsa-2 preparing")
	if _, err := draft.Sign(stack.Layout{Dir: dir}, targetsKey(t, dir), chain, c.now()); err == nil || !strings.Contains(err.Error(), "something else than the chains differs") {
		t.Errorf("signed as a chain of the other authority: %v", err)
	}
	publishTSAChains(t, dir, draft, chain, c.now())
	prepareChain(t, dir, c.now()) // the other authority's, beside it
	want("tsa active, tsa-2 prepared")
	if got := publishedTSAs(t, dir); len(got) != 2 || !got[1].Chain[0].Equal(chain[0]) || !got[0].Window.End.IsZero() {
		t.Errorf("published %+v, want both, open", got)
	}
	if got := kitTSA(t, dir); !got.Equal(first) {
		t.Errorf("clients of files are told of %s, which is not in use", got.Subject)
	}
	useTSAChain(t, dir, "tsa-2")
	if got, err := reloaded(t, dir); err != nil || len(got.Changed) > 0 || len(got.Waiting) != 1 || len(got.NeedsRestart) > 0 {
		t.Errorf("reload before its time: %+v, %v, want that it waits", got, err)
	}
	want("tsa active, tsa-2 prepared")
	useChain(t, dir, "ca-2")
	c.add(time.Minute)
	if got, err := reloaded(t, dir); err != nil || len(got.Changed) != 2 || !strings.Contains(strings.Join(got.Changed, "\n"), "tsa chain of") {
		t.Errorf("reload: %+v, %v, want both chains taken", got, err)
	}
	want("tsa retired, tsa-2 active")
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	serve(t, opts)
	want("tsa retired, tsa-2 active")
	prepareChain(t, dir, c.now()) // while the old one is retired and open
	ends := closeTSAChains(t, dir, c.now())
	retired := tsaChainList(t, dir)[0]
	if len(ends) != 1 || ends[0].SHA256 != retired.SHA256 || !ends[0].End.Equal(retired.End) || retired.End.Sub(retired.Retired) != stack.CloseAfter {
		t.Errorf("to be approved: %+v, want the end of %+v", ends, retired)
	}
	if got := publishedTSAs(t, dir); len(got) != 2 || got[0].Window.End.IsZero() || !got[1].Window.End.IsZero() {
		t.Errorf("published %+v, want the first closed", got)
	}
	if got := kitTSA(t, dir); !got.Equal(chain[0]) {
		t.Errorf("clients of files are told of %s, want the one in use", got.Subject)
	}
	useTSAChain(t, dir, "tsa")
	if _, err := reloaded(t, dir); err == nil || !strings.Contains(err.Error(), "was closed") {
		t.Errorf("a closed chain: %v, want it refused", err)
	}
	useTSAChain(t, dir, "tsa-2")
	prepareTSAChain(t, dir, c.now())
	want("tsa retired, tsa-2 active, tsa-3 prepared")
}

// TestTSAReloadRefuses: what clients do not trust is not signed with.
func TestTSAReloadRefuses(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	serve(t, options(dir, config.ProfileUp))
	draftTSAChain(t, dir, time.Now())
	before := readFile(t, filepath.Join(dir, "config.yaml"))
	for name, tt := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"not published":                  {func(c *config.Config) { c.TSA.Key, c.TSA.Chain = "tsa-2", "keys/tsa-2.chain.pem" }, "tsa.chain: the chain of "},
		"chain of one, key of the other": {func(c *config.Config) { c.TSA.Chain = "keys/tsa-2.chain.pem" }, "tsa.chain: "},
		"key of the other, chain of one": {func(c *config.Config) { c.TSA.Key = "tsa-2" }, "tsa.chain: "},
		"no such file":                   {func(c *config.Config) { c.TSA.Chain = "keys/none.pem" }, "none.pem"},
		"no such key":                    {func(c *config.Config) { c.TSA.Key = "none" }, "tsa.key: there is no key none"},
		"chain of the other authority":   {func(c *config.Config) { c.TSA.Key, c.TSA.Chain = "ca", "keys/ca.chain.pem" }, "tsa.chain: "},
		"both authorities, each refused": {func(c *config.Config) {
			c.TSA.Key, c.TSA.Chain = "tsa-2", "keys/tsa-2.chain.pem"
			c.CA.Key = "none"
		}, "ca.key: there is no key none"},
	} {
		edit(t, dir, tt.change)
		if _, err := reloaded(t, dir); err == nil || !strings.Contains(err.Error(), "nothing was reloaded") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want it refused: %s", name, err, tt.want)
		}
		if got := tsaChainStates(t, dir); got != "tsa active, tsa-2 preparing" {
			t.Errorf("%s: chains %s", name, got)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTSAChainsAfterACrash: each state that a kill can leave starts, and what was going
// on can be gone on with.
func TestTSAChainsAfterACrash(t *testing.T) {
	for name, tt := range map[string]struct {
		leave func(t *testing.T, dir string, c *clock) // ends with the stack not running
		want  string
	}{
		"key made": {func(t *testing.T, dir string, _ *clock) {
			during(t, dir, func() {
				if err := admin.Dial(dir).Post(t.Context(), stack.AdminTSAChainKey, stack.ChainKeyOrder{}, nil); err != nil {
					t.Fatal(err)
				}
			})
		}, "tsa active"},
		"chain written": {func(t *testing.T, dir string, _ *clock) {
			during(t, dir, func() { draftTSAChain(t, dir, time.Now()) })
			if err := os.Remove(filepath.Join(dir, "tsa-chains.json")); err != nil {
				t.Fatal(err)
			}
		}, "tsa active"},
		"drafted": {func(t *testing.T, dir string, _ *clock) {
			during(t, dir, func() { draftTSAChain(t, dir, time.Now()) })
		}, "tsa active, tsa-2 preparing"},
		"published and not noted": {func(t *testing.T, dir string, _ *clock) {
			file, before := filepath.Join(dir, "tsa-chains.json"), ""
			during(t, dir, func() {
				draft, chain := draftTSAChain(t, dir, time.Now())
				before = readFile(t, file)
				publishTSAChains(t, dir, draft, chain, time.Now())
			})
			if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "tsa active, tsa-2 prepared"},
		"named early": {func(t *testing.T, dir string, _ *clock) {
			during(t, dir, func() { prepareTSAChain(t, dir, time.Now()) })
			useTSAChain(t, dir, "tsa-2")
		}, "tsa active, tsa-2 prepared"},
		"named in time, not yet used": {func(t *testing.T, dir string, c *clock) {
			during(t, dir, func() { prepareTSAChain(t, dir, time.Now()) })
			useTSAChain(t, dir, "tsa-2")
			c.add(time.Minute)
		}, "tsa retired, tsa-2 active"},
		"switch noted, not yet made": {func(t *testing.T, dir string, c *clock) {
			during(t, dir, func() { prepareTSAChain(t, dir, time.Now()) })
			useTSAChain(t, dir, "tsa-2")
			c.add(time.Minute)
			opts := options(dir, config.ProfileUp)
			opts.Now = c.now
			served(t, opts, func() {})
			useTSAChain(t, dir, "tsa") // as the process still had it
			served(t, opts, func() {})
			useTSAChain(t, dir, "tsa-2")
		}, "tsa retired, tsa-2 active"},
		"ends published and not noted": {func(t *testing.T, dir string, c *clock) {
			during(t, dir, func() { prepareTSAChain(t, dir, time.Now()) })
			useTSAChain(t, dir, "tsa-2")
			c.add(time.Minute)
			opts := options(dir, config.ProfileUp)
			opts.Now = c.now
			file, before := filepath.Join(dir, "tsa-chains.json"), ""
			served(t, opts, func() {
				if err := admin.Dial(dir).Post(t.Context(), stack.AdminTSAChainClose, nil, nil); err != nil {
					t.Fatal(err)
				}
				before = readFile(t, file)
				closeTSAChains(t, dir, c.now())
			})
			if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "tsa retired, tsa-2 active"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
			var c clock
			tt.leave(t, dir, &c)
			opts := options(dir, config.ProfileUp)
			opts.Now = c.now
			serve(t, opts)
			if got := tsaChainStates(t, dir); got != tt.want {
				t.Errorf("chains %s, want %s", got, tt.want)
			}
			if name == "ends published and not noted" && tsaChainList(t, dir)[0].End.IsZero() {
				t.Error("the published end was not found")
			}
			if strings.HasSuffix(tt.want, "prepared") {
				return // it is published, and prepare would make the one after it
			}
			prepareTSAChain(t, dir, c.now())
			if got := tsaChainStates(t, dir); !strings.HasSuffix(got, " prepared") {
				t.Errorf("chains %s after another prepare", got)
			}
		})
	}
}

// TestIssueTSAChain: the intermediate is renewed when little of its life is left, by
// the root, and the chain verifies; without the keys it is said which is missing.
func TestIssueTSAChain(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	present := readFile(t, filepath.Join(dir, "keys", "tsa.chain.pem"))
	chain, err := pki.ParseCertificatesPEM([]byte(present))
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.Open(filepath.Join(dir, "keys"), nil).Load("tsa")
	if err != nil {
		t.Fatal(err)
	}
	next := stack.ChainKey{Name: "tsa-2", SPKI: key.SPKI(), Chain: []byte(present)}
	for name, tt := range map[string]struct {
		now     time.Time
		renewed bool
	}{
		"soon":     {time.Now(), false},
		"half way": {time.Now().Add(pki.IntermediateLifetime/2 - time.Hour), false},
		"later":    {time.Now().Add(pki.IntermediateLifetime/2 + time.Hour), true},
	} {
		got, err := stack.IssueTSAChain(next, filepath.Join(dir, "offline"), nil, keys.Devices{}, tt.now)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := pki.CheckTimestampChain(got, key.Public(), tt.now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if renewed := !got[1].Equal(chain[1]); renewed != tt.renewed || !got[2].Equal(chain[2]) {
			t.Errorf("%s: intermediate renewed %v, want %v, below the same root", name, renewed, tt.renewed)
		}
		if left := got[0].NotAfter.Sub(tt.now); left < pki.IntermediateLifetime/2-2*time.Hour || !strings.HasSuffix(got[0].Subject.CommonName, " tsa-2") {
			t.Errorf("%s: %s lives %v", name, got[0].Subject, left)
		}
	}
	if _, err := stack.IssueTSAChain(next, t.TempDir(), nil, keys.Devices{}, time.Now()); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "tsa-intermediate") {
		t.Errorf("without the key: %v", err)
	}
}

// TestTSADraftIsTold: a prepare that waits for its signers finds the chain that is
// before them.
func TestTSADraftIsTold(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	serve(t, options(dir, config.ProfileUp))
	_, chain := draftTSAChain(t, dir, time.Now())
	var key stack.ChainKey
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminTSAChainKey, stack.ChainKeyOrder{}, &key); err != nil {
		t.Fatal(err)
	}
	drafted, err := pki.ParseCertificatesPEM(key.Drafted)
	if err != nil || !slices.EqualFunc(drafted, chain, (*x509.Certificate).Equal) {
		t.Errorf("drafted %s (%v), want the chain of before", key.Drafted, err)
	}
	var list map[string]json.RawMessage
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(dir, "tsa-chains.json"))), &list); err != nil || list["draft"] == nil {
		t.Errorf("tsa-chains.json: %v, %v, want a draft", list, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "chains.json")); !os.IsNotExist(err) {
		t.Errorf("chains.json: %v, want none", err)
	}
}
