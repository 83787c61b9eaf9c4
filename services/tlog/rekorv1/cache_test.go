package rekorv1_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestCaching: caches may keep what never changes, and that is only the key of a
// tree that is named.
func TestCaching(t *testing.T) {
	r := start(t)
	e := r.add(t, blob(t, certified(t), "cached"))
	for path, want := range map[string]string{
		fmt.Sprintf("/api/v1/log/publicKey?treeID=%d", r.svc.TreeID()): "immutable",
		"/api/v1/log/publicKey":            "",
		"/api/v1/log/publicKey?treeID=7":   "",
		"/api/v1/log":                      "no-store",
		"/api/v1/log/entries?logIndex=0":   "no-store",
		"/api/v1/log/entries/" + e.ID:      "no-store",
		"/api/v1/log/proof?lastSize=1":     "no-store",
		"/api/v1/log/proof?lastSize=99999": "no-store",
	} {
		got := r.get(t, path).header.Get("Cache-Control")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: Cache-Control %q, want %q in it, or none if that is empty", path, got, want)
		}
	}
}
