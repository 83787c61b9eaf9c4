package stack

import (
	"encoding/json"
	"maps"
	"slices"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// WithoutRenames takes out of a change of the targets what gives files for older
// clients other names, or another state, and leaves their uses and contents as they
// are. Such a file is called by what signs at the time, rekor.pub or fulcio.crt.pem:
// names follow when a key is exchanged, with whatever is published next, and say
// nothing that was not signed before.
func WithoutRenames(c tufroot.Change) tufroot.Change {
	c.Before, c.After = maps.Clone(c.Before), maps.Clone(c.After)
	for _, name := range slices.Sorted(maps.Keys(c.After)) {
		if was, ok := sameFile(c.Before, legacyContent(name, c.After[name])); ok {
			delete(c.After, name)
			delete(c.Before, was)
		}
	}
	return c
}

// sameFile finds the file for older clients that has that content.
func sameFile(in map[string]tufroot.ReviewedTarget, content string) (name string, ok bool) {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if content != "" && legacyContent(name, in[name]) == content {
			return name, true
		}
	}
	return "", false
}

// legacyContent is use and content of a file for older clients; "" of any other.
func legacyContent(name string, t tufroot.ReviewedTarget) string {
	var custom struct {
		Sigstore struct {
			Usage string `json:"usage"`
		} `json:"sigstore"`
	}
	if err := json.Unmarshal(t.Custom, &custom); err != nil || name == trust.TrustedRootName || custom.Sigstore.Usage == "" {
		return ""
	}
	return custom.Sigstore.Usage + "\n" + string(t.Data)
}
