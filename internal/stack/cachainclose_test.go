package stack_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
)

// conflict demands that an act is refused, for that reason.
func conflict(t *testing.T, what string, err error, want string) {
	t.Helper()
	var refusal *admin.RefusedError
	if !errors.As(err, &refusal) || refusal.Status != http.StatusConflict || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got %v, want a conflict that says %q", what, err, want)
	}
}

// switched is a directory whose second chain issues, and a clock that is past its
// distribution. Nothing serves the directory.
func switched(t *testing.T) (dir string, opts stack.Options, c *clock) {
	t.Helper()
	dir, c = initDir(t, stack.InitConfig{Profile: config.ProfileUp}), &clock{}
	opts = options(dir, config.ProfileUp)
	opts.Now = c.now
	served(t, opts, func() { prepareChain(t, dir, c.now()) })
	c.add(time.Minute)
	useChain(t, dir, "ca-2")
	served(t, opts, func() {
		if got, want := chainStates(t, dir), "ca retired, ca-2 active"; got != want {
			t.Fatalf("chains %s, want %s", got, want)
		}
	})
	return dir, opts, c
}

// served serves a directory while do runs.
func served(t *testing.T, opts stack.Options, do func()) {
	t.Helper()
	r := start(t, opts)
	do()
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
}

// TestActiveChainIsNotClosed: a draft of ends outlives neither a start with the chain
// that it ends nor a change of that chain; and what was published counts, even where
// it was not noted.
func TestActiveChainIsNotClosed(t *testing.T) {
	publish := func(t *testing.T, dir, want string) {
		t.Helper()
		conflict(t, "publish", admin.Dial(dir).Post(t.Context(), stack.AdminChainPublish, stack.SignedTargets{}, nil), want)
		if got := publishedCAs(t, dir); len(got) != 2 || got[0] != "" || got[1] != "" {
			t.Errorf("windows end at %q, want none", got)
		}
	}
	post := func(t *testing.T, dir, path string) {
		t.Helper()
		if err := admin.Dial(dir).Post(t.Context(), path, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("start with the chain that the draft ends", func(t *testing.T) {
		dir, opts, _ := switched(t)
		served(t, opts, func() { post(t, dir, stack.AdminChainClose) })
		useChain(t, dir, "ca")
		served(t, opts, func() {
			if got, want := chainStates(t, dir), "ca active, ca-2 retired"; got != want {
				t.Errorf("chains %s, want %s", got, want)
			}
			publish(t, dir, "no change of the chains waits")
		})
	})
	t.Run("draft that ends the chain that issues", func(t *testing.T) {
		dir, opts, _ := switched(t)
		served(t, opts, func() { post(t, dir, stack.AdminChainClose) })
		file := filepath.Join(dir, "chains.json")
		text := readFile(t, file)
		end := regexp.MustCompile(`"end": "[^"]*"`).FindString(text)
		last := strings.LastIndex(text, `"key": "ca-2"`)
		if end == "" || last < 0 {
			t.Fatalf("no draft of an end in %s", text)
		}
		if err := os.WriteFile(file, []byte(text[:last]+end+", "+text[last:]), 0o600); err != nil {
			t.Fatal(err)
		}
		served(t, opts, func() { publish(t, dir, "would end the chain that issues now") })
	})
	t.Run("ends published and not noted", func(t *testing.T) {
		dir, opts, c := switched(t)
		file, before := filepath.Join(dir, "chains.json"), ""
		served(t, opts, func() {
			post(t, dir, stack.AdminChainClose)
			before = readFile(t, file)
			closeChains(t, dir, c.now())
		})
		if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		useChain(t, dir, "ca")
		if _, err := stack.Open(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "was closed") {
			t.Errorf("start with a closed chain: %v, want it refused", err)
		}
		useChain(t, dir, "ca-2")
		served(t, opts, func() {
			if got := chainList(t, dir); got[0].End.IsZero() || !got[1].End.IsZero() {
				t.Errorf("chains %+v, want the first closed", got)
			}
		})
	})
}

// TestCloseThatIsOnlyShown: what close would do changes nothing, and nothing of it can
// be published.
func TestCloseThatIsOnlyShown(t *testing.T) {
	dir, opts, c := switched(t)
	served(t, opts, func() {
		before := readFile(t, filepath.Join(dir, "chains.json"))
		var draft stack.ChainDraft
		if err := admin.Dial(dir).Get(t.Context(), stack.AdminChainClose, &draft); err != nil {
			t.Fatal(err)
		}
		no := errors.New("no")
		var shown []stack.ChainEnd
		_, err := draft.SignEnds(stack.Layout{Dir: dir}, targetsKey(t, dir), c.now(), func(ends []stack.ChainEnd) error { shown = ends; return no })
		if !errors.Is(err, no) || len(shown) != 1 || shown[0].SHA256 != chainList(t, dir)[0].SHA256 {
			t.Errorf("shown %+v, error %v, want the first chain's end, and no signature", shown, err)
		}
		signed, err := draft.SignEnds(stack.Layout{Dir: dir}, targetsKey(t, dir), c.now(), func([]stack.ChainEnd) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		conflict(t, "publish what was only shown", admin.Dial(dir).Post(t.Context(), stack.AdminChainPublish, signed, nil), "no change of the chains waits")
		if after := readFile(t, filepath.Join(dir, "chains.json")); after != before {
			t.Errorf("chains.json is %s, want %s", after, before)
		}
	})
}

// TestPrepareRefusesKeysInUse: a chain has a key of its own, and its file takes no
// other's place.
func TestPrepareRefusesKeysInUse(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	edit(t, dir, func(c *config.Config) { c.TSA.Chain = "keys/corp.chain.pem" })
	if err := os.Rename(filepath.Join(dir, "keys", "tsa.chain.pem"), filepath.Join(dir, "keys", "corp.chain.pem")); err != nil {
		t.Fatal(err)
	}
	served(t, options(dir, config.ProfileUp), func() {
		shardDraft(t, dir)
		chain := readFile(t, filepath.Join(dir, "keys", "corp.chain.pem"))
		for key, want := range map[string]string{
			"ca": "another chain's", "tsa": "tsa.key in config.yaml", "ctlog": "ctlog.key in config.yaml", "rekor": "tlog.key in config.yaml",
			"audit": "audit.key in config.yaml", "tuf-snapshot": "tuf.snapshot_key in config.yaml", "tlog-2": "a shard's",
			"corp": "keys/corp.chain.pem of key corp would be written over",
		} {
			order := stack.ChainOrder{Certificates: []byte(chain), Key: key}
			conflict(t, "key "+key, admin.Dial(dir).Post(t.Context(), stack.AdminChainPrepare, order, nil), want)
		}
		if after := readFile(t, filepath.Join(dir, "keys", "corp.chain.pem")); after != chain {
			t.Error("the chain of the timestamp authority was written over")
		}
	})
}

// TestPrepareOnceUntilItIsUsed: one chain at a time waits, unless it is said otherwise.
func TestPrepareOnceUntilItIsUsed(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	served(t, options(dir, config.ProfileUp), func() {
		prepareChain(t, dir, time.Now())
		const want = "let config.yaml say, in section ca, key: ca-2 and chain: keys/ca-2.chain.pem"
		channel := admin.Dial(dir)
		conflict(t, "key of another", channel.Post(t.Context(), stack.AdminChainKey, stack.ChainKeyOrder{}, nil), want)
		order := stack.ChainOrder{Certificates: pki.CertificatesPEM(testChain(t, "corp")), Key: "corp"}
		conflict(t, "another of an authority elsewhere", channel.Post(t.Context(), stack.AdminChainPrepare, order, nil), want)
		if _, err := os.Stat(filepath.Join(dir, "keys", "ca-3.key")); !os.IsNotExist(err) {
			t.Errorf("key ca-3: %v, want that none was made", err)
		}
		var key stack.ChainKey
		if err := channel.Post(t.Context(), stack.AdminChainKey, stack.ChainKeyOrder{Another: true}, &key); err != nil || key.Name != "ca-3" {
			t.Errorf("another: key %q, %v, want ca-3", key.Name, err)
		}
	})
}
