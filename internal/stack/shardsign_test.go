package stack_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
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

// object is JSON.
type object = map[string]any

// forger makes drafts that a process which was taken over might hand out.
type forger struct {
	t     *testing.T
	dir   string
	draft stack.ShardDraft
}

// with returns the draft after change was made to what it says is to be signed.
func (f *forger) with(change func(signed object)) stack.ShardDraft {
	f.t.Helper()
	var role object
	if err := json.Unmarshal(f.draft.Targets, &role); err != nil {
		f.t.Fatal(err)
	}
	change(role["signed"].(object))
	d := f.draft
	var err error
	if d.Targets, err = json.Marshal(role); err != nil {
		f.t.Fatal(err)
	}
	return d
}

// target puts a target into the draft, and its file into the repository.
func (f *forger) target(name string, data []byte) stack.ShardDraft {
	f.t.Helper()
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	if err := os.WriteFile(filepath.Join(f.dir, "tuf", "targets", digest+"."+name), data, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return f.with(func(signed object) {
		signed["targets"].(object)[name] = object{"length": len(data), "hashes": object{"sha256": digest}}
	})
}

// trustedRoot is the draft with another trusted root.
func (f *forger) trustedRoot(change func(root object)) stack.ShardDraft {
	f.t.Helper()
	var root object
	if err := json.Unmarshal(f.content(trust.TrustedRootName), &root); err != nil {
		f.t.Fatal(err)
	}
	change(root)
	data, err := json.Marshal(root)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.target(trust.TrustedRootName, data)
}

// content is a target of the draft.
func (f *forger) content(name string) (data []byte) {
	f.t.Helper()
	f.with(func(signed object) {
		digest := signed["targets"].(object)[name].(object)["hashes"].(object)["sha256"].(string)
		var err error
		if data, err = os.ReadFile(filepath.Join(f.dir, "tuf", "targets", digest+"."+name)); err != nil {
			f.t.Fatal(err)
		}
	})
	return data
}

// TestShardDraftIsReviewed: whoever has taken the process over gets no signature
// of the offline key but for the log's next key.
func TestShardDraftIsReviewed(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	start(t, options(dir, config.ProfileUp))
	f := &forger{t: t, dir: dir}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardPrepare, stack.ShardOrder{}, &f.draft); err != nil {
		t.Fatal(err)
	}
	other, err := keys.Ephemeral("other", keys.ECDSAP256, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	anotherLog := f.draft
	anotherLog.Shard.LogID = strings.Repeat("ab", 32)
	// split returns the log of before and the one to come, which are in no order.
	split := func(root object) (old, next object) {
		for _, l := range root["tlogs"].([]any) {
			id, err := base64.StdEncoding.DecodeString(l.(object)["logId"].(object)["keyId"].(string))
			if err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(id) == f.draft.Shard.LogID {
				next = l.(object)
			} else {
				old = l.(object)
			}
		}
		return old, next
	}
	for name, tt := range map[string]struct {
		draft stack.ShardDraft
		want  string
	}{
		"another log":       {anotherLog, "is added or changed"},
		"an authority more": {f.trustedRoot(func(r object) { r["certificateAuthorities"] = append(r["certificateAuthorities"].([]any), object{}) }), "something else than the logs"},
		"no CT log":         {f.trustedRoot(func(r object) { delete(r, "ctlogs") }), "something else than the logs"},
		"two logs more": {f.trustedRoot(func(r object) {
			_, next := split(r)
			r["tlogs"] = append(r["tlogs"].([]any), next)
		}), "is there 2 times"},
		"the log is gone": {f.trustedRoot(func(r object) {
			_, next := split(r)
			r["tlogs"] = []any{next}
		}), "a log is taken away"},
		"no log more": {f.trustedRoot(func(r object) {
			old, _ := split(r)
			r["tlogs"] = []any{old}
		}), "is there 0 times"},
		"the log's window": {f.trustedRoot(func(r object) {
			old, _ := split(r)
			old["publicKey"].(object)["validFor"] = object{"start": "2001-01-01T00:00:00Z"}
		}), "is added or changed"},
		"another signing configuration": {f.target(trust.SigningConfigName, []byte("{}")), "is added or changed"},
		"a file more":                   {f.target("evil.txt", []byte("x")), "target evil.txt is added"},
		"another key's file":            {f.target("rekor_2.pub", pki.PublicKeyPEM(other.SPKI())), "target rekor_2.pub is added"},
		"a file less":                   {f.with(func(s object) { delete(s["targets"].(object), trust.SigningConfigName) }), "taken away"},
		"other custom metadata": {f.with(func(s object) {
			s["targets"].(object)[trust.SigningConfigName].(object)["custom"] = object{"sigstore": object{"usage": "Fulcio"}}
		}), "is added or changed"},
		"a delegation":    {f.with(func(s object) { s["delegations"] = object{"keys": object{}, "roles": []any{}} }), "more in it than targets"},
		"a later version": {f.with(func(s object) { s["version"] = 9 }), "is version 9"},
		"a long life":     {f.with(func(s object) { s["expires"] = "2099-01-01T00:00:00Z" }), "expires at"},
		"a path": {f.with(func(s object) {
			s["targets"].(object)["../x"] = maps.Clone(s["targets"].(object)[trust.SigningConfigName].(object))
		}), "not a plain file name"},
		"a lie about a file": {f.with(func(s object) {
			s["targets"].(object)[trust.TrustedRootName].(object)["length"] = 1
		}), "not the one that the metadata names"},
		"no metadata": {stack.ShardDraft{Shard: f.draft.Shard, Targets: []byte("{}")}, "draft"},
	} {
		if _, err := tt.draft.Sign(stack.Layout{Dir: dir}, targetsKey(t, dir), time.Now()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want it refused: %s", name, err, tt.want)
		}
	}
	if _, err := f.draft.Sign(stack.Layout{Dir: dir}, other, time.Now()); err == nil || !strings.Contains(err.Error(), "not signed with this key") {
		t.Errorf("another key: got %v, want it refused", err)
	}

	signed, err := f.draft.Sign(stack.Layout{Dir: dir}, targetsKey(t, dir), time.Now())
	if err != nil {
		t.Fatalf("the draft itself: %v", err)
	}
	if !bytes.Contains(signed.Targets, []byte(fmt.Sprintf("%q", trust.TrustedRootName))) {
		t.Errorf("signed targets without a trusted root: %s", signed.Targets)
	}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardPublish, signed, nil); err != nil {
		t.Errorf("publish what was signed: %v", err)
	}
}
