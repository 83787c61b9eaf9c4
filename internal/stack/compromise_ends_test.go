package stack_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/stack"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

func spkiID(spki []byte) string {
	id := sha256.Sum256(spki)
	return hex.EncodeToString(id[:])
}

// endOfTrust is a change of targets that ends the trust in the first log of a kit, of a
// stack that `up` made.
func endOfTrust(t *testing.T, before []byte) (stack.Compromise, tufroot.Change) {
	t.Helper()
	root, err := trust.ParseTrustedRoot(before)
	if err != nil {
		t.Fatal(err)
	}
	at := root.TLogs[0].Window.Start.Add(time.Minute).Truncate(time.Second)
	c := stack.Compromise{Kind: stack.CompromisedLog, Key: spkiID(root.TLogs[0].PublicKey), At: at}
	root.TLogs[0].Window.End = at
	return c, tufroot.Change{
		Before: map[string]tufroot.ReviewedTarget{
			trust.TrustedRootName: {Data: before},
			"rekor.pub":           {Data: []byte("key"), Custom: []byte(`{"sigstore":{"usage":"Rekor","status":"Active"}}`)},
		},
		After: map[string]tufroot.ReviewedTarget{
			trust.TrustedRootName: {Data: rootJSON(t, root)},
			"rekor_ab.pub":        {Data: []byte("key"), Custom: []byte(`{"sigstore":{"usage":"Rekor","status":"Expired"}}`)},
		},
	}
}

func rootJSON(t *testing.T, root trust.Root) []byte {
	t.Helper()
	data, err := root.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestEndsTrust: a signer signs the end of that one window, and nothing else.
func TestEndsTrust(t *testing.T) {
	before := []byte(readFile(t, filepath.Join(initDir(t, stack.InitConfig{Profile: config.ProfileUp}), "client", trust.TrustedRootName)))
	c, change := endOfTrust(t, before)
	if err := c.EndsTrust(change); err != nil {
		t.Fatalf("got %v, want that it may be signed", err)
	}
	other := func(edit func(*trust.Root)) tufroot.ReviewedTarget {
		root, err := trust.ParseTrustedRoot(change.After[trust.TrustedRootName].Data)
		if err != nil {
			t.Fatal(err)
		}
		edit(&root)
		return tufroot.ReviewedTarget{Data: rootJSON(t, root)}
	}
	for name, edit := range map[string]func(after map[string]tufroot.ReviewedTarget){
		"another moment": func(a map[string]tufroot.ReviewedTarget) {
			a[trust.TrustedRootName] = other(func(r *trust.Root) { r.TLogs[0].Window.End = c.At.Add(time.Second) })
		},
		"another key, too": func(a map[string]tufroot.ReviewedTarget) {
			a[trust.TrustedRootName] = other(func(r *trust.Root) { r.CTLogs[0].Window.End = c.At })
		},
		"a chain is gone": func(a map[string]tufroot.ReviewedTarget) {
			a[trust.TrustedRootName] = other(func(r *trust.Root) { r.CAs = nil })
		},
		"the root does not change": func(a map[string]tufroot.ReviewedTarget) {
			a[trust.TrustedRootName] = tufroot.ReviewedTarget{Data: before}
		},
		"a file is gone": func(a map[string]tufroot.ReviewedTarget) { delete(a, "rekor_ab.pub") },
		"a file is changed": func(a map[string]tufroot.ReviewedTarget) {
			a["rekor_ab.pub"] = tufroot.ReviewedTarget{Data: []byte("other"), Custom: a["rekor_ab.pub"].Custom}
		},
		"a file is added": func(a map[string]tufroot.ReviewedTarget) { a["more"] = tufroot.ReviewedTarget{Data: []byte("x")} },
		"another use": func(a map[string]tufroot.ReviewedTarget) {
			a["rekor_ab.pub"] = tufroot.ReviewedTarget{Data: []byte("key"), Custom: []byte(`{"sigstore":{"usage":"CTFE"}}`)}
		},
	} {
		_, bad := endOfTrust(t, before)
		edit(bad.After)
		if err := c.EndsTrust(bad); err == nil || !strings.Contains(err.Error(), "nothing was signed") {
			t.Errorf("%s: got %v, want that nothing is signed", name, err)
		}
	}
}

// compromiseOffline ends the trust in the log's first key, of a stack that nothing
// serves, a while after the key was made; with publish it is published.
func compromiseOffline(ctx context.Context, dir string, publish bool) (d stack.CompromiseDraft, err error) {
	return d, offline(ctx, options(dir, config.ProfileUp), func(ctx context.Context) error {
		key, err := stack.TargetsKey(filepath.Join(dir, "offline"), nil, keys.Devices{})
		if err != nil {
			return err
		}
		order := stack.CompromiseOrder{Kind: stack.CompromisedLog, Key: "rekor", At: time.Now().Add(-time.Minute), StopIssuing: true}
		if err := admin.Dial(dir).Post(ctx, stack.AdminCompromiseDraft, order, &d); err != nil || !publish {
			return err
		}
		change, err := tufroot.Review(stack.Layout{Dir: dir}.TUF(), d.Targets, key)
		if err != nil {
			return err
		}
		if err := d.EndsTrust(change); err != nil {
			return err
		}
		signed, err := tufroot.SignTargets(d.Targets, key)
		if err != nil {
			return err
		}
		return admin.Dial(dir).Post(ctx, stack.AdminCompromisePublish, stack.Publication{Targets: signed}, nil)
	})
}

// TestCompromiseIsNotedAtTheNextStart: the end is out, and the process ended before it
// could say so; and one that is not out yet does not count.
func TestCompromiseIsNotedAtTheNextStart(t *testing.T) {
	for _, published := range []bool{true, false} {
		dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
		d, err := compromiseOffline(t.Context(), dir, published)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "compromised.json")
		crashed, err := json.Marshal(map[string]any{"version": 1, "ended": []any{}, "draft": map[string]any{"kind": d.Kind, "key": d.Key, "at": d.At}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, crashed, 0o600); err != nil {
			t.Fatal(err)
		}
		var list stack.CompromiseList
		if err := offline(t.Context(), options(dir, config.ProfileUp), func(ctx context.Context) error {
			return admin.Dial(dir).Get(ctx, stack.AdminCompromises, &list)
		}); err != nil {
			t.Fatalf("published %v: %v", published, err)
		}
		root, err := trust.ParseTrustedRoot([]byte(readFile(t, filepath.Join(dir, "client", trust.TrustedRootName))))
		if err != nil {
			t.Fatal(err)
		}
		if got := !root.TLogs[0].Window.End.IsZero(); got != published || len(list.Ended) == 1 != published {
			t.Errorf("published %v: the kit has the end: %v, %d ends are noted", published, got, len(list.Ended))
		}
	}
}

// TestCompromiseRefuses: what cannot be meant is refused with the reason.
func TestCompromiseRefuses(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	if err := offline(t.Context(), options(dir, config.ProfileUp), func(ctx context.Context) error {
		good := stack.CompromiseOrder{Kind: "log", Key: "rekor", At: time.Now().Add(-time.Minute)}
		for name, c := range map[string]struct {
			edit func(*stack.CompromiseOrder)
			want string
		}{
			"active":       {func(*stack.CompromiseOrder) {}, "signs now"},
			"kind":         {func(o *stack.CompromiseOrder) { o.Kind = "tuf" }, "none of"},
			"other kind":   {func(o *stack.CompromiseOrder) { o.Kind = "ctlog" }, "clients trust no ctlog key rekor"},
			"no such key":  {func(o *stack.CompromiseOrder) { o.Key = "rekor-9" }, "rekor-9"},
			"no such hash": {func(o *stack.CompromiseOrder) { o.Key = "sha256:12" }, "64 hex digits"},
			"ahead":        {func(o *stack.CompromiseOrder) { o.At = time.Now().Add(time.Hour) }, "is ahead"},
			"too early":    {func(o *stack.CompromiseOrder) { o.At = time.Now().Add(-24 * time.Hour) }, "trusted from"},
		} {
			order := good
			c.edit(&order)
			err := admin.Dial(dir).Post(ctx, stack.AdminCompromiseDraft, order, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want a refusal with %q", name, err, c.want)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "compromised.json")); err == nil {
		t.Error("a refusal left compromised.json")
	}
}
