package stack_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// TestOnlineKeysAreReviewed: whoever has taken the process over gets a root signed with
// other online keys, and with nothing else.
func TestOnlineKeysAreReviewed(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	start(t, options(dir, config.ProfileUp))
	var next, again stack.TUFOnline
	for _, into := range []*stack.TUFOnline{&next, &again} {
		if err := admin.Dial(dir).Post(t.Context(), stack.AdminTUFOnline, nil, into); err != nil {
			t.Fatal(err)
		}
	}
	if next != again || next.Snapshot != "tuf-snapshot-2" || next.Timestamp != "tuf-timestamp-2" {
		t.Fatalf("next keys %+v, then %+v, want the same", next, again)
	}
	var draft stack.TUFDraft
	order := stack.TUFOrder{Snapshot: stack.TUFRoleOrder{Add: []string{next.SnapshotPEM}, Threshold: 1}, Timestamp: stack.TUFRoleOrder{Add: []string{next.TimestampPEM}, Threshold: 1}}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminTUFDraft, order, &draft); err != nil {
		t.Fatal(err)
	}
	current, err := os.ReadFile(filepath.Join(dir, "tuf", "1.root.json"))
	if err != nil {
		t.Fatal(err)
	}
	if s, ts, err := stack.ApproveOnlineKeys(current, draft.Root, time.Now()); err != nil || s != 2 || ts != 2 {
		t.Errorf("the draft itself: %d snapshot and %d timestamp keys, %v, want 2 and 2", s, ts, err)
	}
	for name, tt := range map[string]struct {
		change func(signed, roles object)
		want   string
	}{
		"a later version":    {func(s, _ object) { s["version"] = 7 }, "version 7"},
		"a long life":        {func(s, _ object) { s["expires"] = "2099-01-01T00:00:00Z" }, "expires at"},
		"expired":            {func(s, _ object) { s["expires"] = "2001-01-01T00:00:00Z" }, "expires at"},
		"the key of targets": {func(_, r object) { r["targets"] = r["snapshot"] }, "more than keys"},
		"the key of root":    {func(_, r object) { r["root"] = r["snapshot"] }, "more than keys"},
		"another threshold":  {func(_, r object) { r["snapshot"].(object)["threshold"] = 2 }, "one of which suffices"},
		"no timestamp":       {func(_, r object) { delete(r, "timestamp") }, "one of which suffices"},
		"a role more":        {func(_, r object) { r["mirrors"] = r["snapshot"] }, "more than keys"},
		"a member more":      {func(s, _ object) { s["consistent_snapshot"] = false }, "more than keys"},
		"a key's content": {func(s, r object) {
			s["keys"].(object)[r["root"].(object)["keyids"].([]any)[0].(string)] = object{}
		}, "more than keys"},
	} {
		var role object
		if err := json.Unmarshal(draft.Root, &role); err != nil {
			t.Fatal(err)
		}
		signed := role["signed"].(object)
		tt.change(signed, signed["roles"].(object))
		data, err := json.Marshal(role)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := stack.ApproveOnlineKeys(current, data, time.Now()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want it refused: %s", name, err, tt.want)
		}
	}
	// Keys that the root does not trust sign nothing.
	edit(t, dir, func(c *config.Config) { c.TUF.SnapshotKey = next.Snapshot })
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminTUFOnlineUse, nil, nil); err == nil || !strings.Contains(err.Error(), "not the one of the root") {
		t.Errorf("keys that no root trusts: got %v, want it refused", err)
	}
}
