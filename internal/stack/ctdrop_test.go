package stack_test

import (
	"errors"
	"strings"
	"testing"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// TestPreparedCTLogIsDropped: what nobody knows of goes, what is named or published
// stays, and the next prepare of the prefix takes key and tree.
func TestPreparedCTLogIsDropped(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	r := start(t, options(dir, config.ProfileUp))
	drop := func(prefix string) error {
		return admin.Dial(dir).Post(t.Context(), stack.AdminCTLogDrop, stack.CTLogDrop{Prefix: prefix}, nil)
	}
	refused := func(what, prefix, want string) {
		t.Helper()
		var refusal *admin.RefusedError
		if err := drop(prefix); !errors.As(err, &refusal) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it refused: %s", what, err, want)
		}
	}
	refused("nothing is prepared", "ct2", `no CT log "ct2" was prepared`)
	refused("the first log", "ctlog", `no CT log "ctlog" was prepared`)
	first := prepareCT(t, dir, stack.CTLogOrder{}).Log
	useCT(t, dir, first)
	refused("named in config.yaml", "ct2", "take it out of ctlog.shards first")
	edit(t, dir, func(c *config.Config) { c.CTLog.Shards, c.CTLog.First = nil, "" })
	if err := drop("ct2"); err != nil {
		t.Fatal(err)
	}
	wantCT(t, dir, "dropped", "ctlog active 1")
	refused("once more", "ct2", "was prepared")
	if err := publishCTLogs(t.Context(), dir); err != nil {
		t.Errorf("publish nothing: %v", err)
	}
	end(t, r)
	r = start(t, options(dir, config.ProfileUp))
	again := prepareCT(t, dir, stack.CTLogOrder{}).Log
	if again.Key != first.Key || again.TreeID != first.TreeID || again.LogID != first.LogID {
		t.Errorf("prepared again: %+v, want the key and tree of %+v", again, first)
	}
	if err := publishCTLogs(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	refused("published", "ct2", "never taken back")
	wantCT(t, dir, "published", "ctlog active 1, ct2 prepared 0")
	end(t, r)
}
