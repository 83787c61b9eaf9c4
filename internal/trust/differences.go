package trust

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Differences says in plain words, one sentence each, what changes for clients
// when the targets after take the place of those before: keys, chains, windows and
// services first, then every file that differs, with its digest. It is empty when
// names, bytes and custom metadata are the same. Files that cannot be read are
// told by their digests alone, and said to be unreadable.
func Differences(before, after []Target) []string {
	var out []string
	old, now := byName(before), byName(after)
	out = append(out, rootDifferences(old[TrustedRootName], now[TrustedRootName])...)
	out = append(out, configDifferences(old[SigningConfigName], now[SigningConfigName])...)
	return append(out, fileDifferences(old, now)...)
}

func byName(targets []Target) map[string]Target {
	out := map[string]Target{}
	for _, t := range targets {
		out[t.Name] = t
	}
	return out
}

// item is something that clients trust or call, with all that is told of it.
type item struct {
	what   string // the same before and after: what it is
	window Window
	detail string // of one that is added
	lost   string // what its going means
}

// rootDifferences tells of keys and chains.
func rootDifferences(before, after Target) []string {
	if bytes.Equal(before.Data, after.Data) {
		return nil
	}
	old, err1 := rootItems(before.Data)
	now, err2 := rootItems(after.Data)
	if err := cmp.Or(err1, err2); err != nil {
		return []string{fmt.Sprintf("%s cannot be compared in words: %v", TrustedRootName, err)}
	}
	return compare(old, now)
}

func rootItems(data []byte) ([]item, error) {
	if data == nil {
		return nil, nil
	}
	root, err := ParseTrustedRoot(data)
	if err != nil {
		return nil, err
	}
	var out []item
	add := func(kind string, logs []KnownLog) {
		for _, l := range logs {
			out = append(out, item{
				what: fmt.Sprintf("%s %s, key %s", kind, l.BaseURL, hex.EncodeToString(l.ID[:])), window: l.Window,
				lost: "what it has logged would not verify any more",
			})
		}
	}
	add("transparency log", root.TLogs)
	add("CT log", root.CTLogs)
	chains := func(kind string, as []Authority) {
		for _, a := range as {
			first, last := a.Chain[0], a.Chain[len(a.Chain)-1]
			out = append(out, item{
				what:   fmt.Sprintf("%s %s: %s, certificate sha256:%x", kind, a.URI, first.Subject, sha256.Sum256(first.Raw)),
				window: a.Window,
				detail: fmt.Sprintf(", valid until %s, under %s, sha256:%x", moment(first.NotAfter), last.Subject, sha256.Sum256(last.Raw)),
				lost:   "what it has signed would not verify any more",
			})
		}
	}
	chains("certificate authority", root.CAs)
	chains("timestamp authority", root.TSAs)
	return out, nil
}

// configDifferences tells of services.
func configDifferences(before, after Target) []string {
	if bytes.Equal(before.Data, after.Data) {
		return nil
	}
	old, err1 := configItems(before.Data)
	now, err2 := configItems(after.Data)
	if err := cmp.Or(err1, err2); err != nil {
		return []string{fmt.Sprintf("%s cannot be compared in words: %v", SigningConfigName, err)}
	}
	return compare(old, now)
}

func configItems(data []byte) ([]item, error) {
	if data == nil {
		return nil, nil
	}
	c, err := ParseSigningConfig(data)
	if err != nil {
		return nil, err
	}
	var out []item
	for _, l := range c.lists() {
		for _, s := range l.services {
			out = append(out, item{
				what:   fmt.Sprintf("service to sign with: %s %s, version %d, operator %s", l.kind, s.URL, s.APIVersion, s.Operator),
				window: s.Window, lost: "clients that sign do not find it any more",
			})
		}
	}
	return out, nil
}

// compare tells what is added, what goes and whose window changes. Of several
// with the same name the windows are compared in order.
func compare(before, after []item) (out []string) {
	rest := slices.Clone(before)
	for _, x := range after {
		i := slices.IndexFunc(rest, func(o item) bool { return o.what == x.what })
		if i < 0 {
			out = append(out, fmt.Sprintf("%s is added: trusted %s%s", x.what, x.window.words(), x.detail))
			continue
		}
		out = append(out, windowDifference(x.what, rest[i].window, x.window)...)
		rest = slices.Delete(rest, i, i+1)
	}
	for _, x := range rest {
		out = append(out, fmt.Sprintf("%s is TAKEN AWAY: %s", x.what, x.lost))
	}
	return out
}

func windowDifference(what string, before, after Window) (out []string) {
	if !before.Start.Equal(after.Start) {
		out = append(out, fmt.Sprintf("%s: trusted from %s on, before: from %s", what, moment(after.Start), moment(before.Start)))
	}
	switch {
	case before.End.Equal(after.End):
	case after.End.IsZero():
		out = append(out, fmt.Sprintf("%s: trusted without an end again, before: until %s", what, moment(before.End)))
	case before.End.IsZero():
		out = append(out, fmt.Sprintf("%s: trusted until %s, before: without an end", what, moment(after.End)))
	default:
		out = append(out, fmt.Sprintf("%s: trusted until %s, before: until %s", what, moment(after.End), moment(before.End)))
	}
	return out
}

// fileDifferences tells of bytes, by which signers compare what they were shown.
func fileDifferences(old, now map[string]Target) (out []string) {
	names := map[string]bool{}
	for name := range old {
		names[name] = true
	}
	for name := range now {
		names[name] = true
	}
	for _, name := range sortedNames(names) {
		before, had := old[name]
		after, has := now[name]
		switch {
		case !had:
			out = append(out, fmt.Sprintf("file %s is new: sha256:%x%s", name, sha256.Sum256(after.Data), after.legacyStatus()))
		case !has:
			out = append(out, fmt.Sprintf("file %s is taken away, it was sha256:%x", name, sha256.Sum256(before.Data)))
		case !bytes.Equal(before.Data, after.Data):
			out = append(out, fmt.Sprintf("file %s changes: sha256:%x, before: sha256:%x%s", name, sha256.Sum256(after.Data), sha256.Sum256(before.Data), after.legacyStatus()))
		case !sameJSON(before.Custom, after.Custom):
			out = append(out, fmt.Sprintf("file %s keeps its bytes (sha256:%x), and changes what older clients are told of it%s", name, sha256.Sum256(after.Data), after.legacyStatus()))
		}
	}
	return out
}

// sameJSON compares two pieces of JSON, or two that are none, but for white space.
func sameJSON(a, b []byte) bool {
	var left, right bytes.Buffer
	if json.Compact(&left, a) != nil || json.Compact(&right, b) != nil {
		return bytes.Equal(a, b)
	}
	return bytes.Equal(left.Bytes(), right.Bytes())
}

func sortedNames(set map[string]bool) []string {
	var out []string
	for name := range set {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// legacyStatus is what the custom metadata tells older clients, "" if nothing.
func (t Target) legacyStatus() string {
	var custom legacyCustom
	if err := json.Unmarshal(t.Custom, &custom); err != nil || custom.Sigstore.Usage == "" {
		return ""
	}
	c := custom.Sigstore
	return fmt.Sprintf("; for older clients: %s of %s, %s", c.Usage, c.URI, strings.ToLower(c.Status))
}

// words say from when to when.
func (w Window) words() string {
	if w.End.IsZero() {
		return fmt.Sprintf("from %s on", moment(w.Start))
	}
	return fmt.Sprintf("from %s to %s", moment(w.Start), moment(w.End))
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// configList is one kind of services of a signing config.
type configList struct {
	kind     string
	services []ConfigService
	versions uint32 // the highest that there is
}

func (c Config) lists() []configList {
	return []configList{
		{"certificate authority", c.CAs, 1}, {"issuer", c.OIDC, 1}, {"transparency log", c.TLogs, 2}, {"timestamp authority", c.TSAs, 1},
	}
}
