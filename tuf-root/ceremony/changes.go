package ceremony

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// Changes says in plain words, one sentence each, what a signature agrees to: keys,
// thresholds, expiries, and files with what is in them.
func (c *Ceremony) Changes() []string {
	var out []string
	if c.root != nil {
		out = append(out, c.rootChanges()...)
	}
	if c.targets != nil {
		out = append(out, c.targetsChanges()...)
	}
	return out
}

func (c *Ceremony) rootChanges() []string {
	var out []string
	if c.currentRoot == nil {
		out = append(out, "The root is the first one, version 1: clients will start from it.")
	} else {
		out = append(out, fmt.Sprintf("The root of version %d takes the place of version %d.", c.root.Version, c.currentRoot.Version))
	}
	out = append(out, c.expiry("The root", c.root))
	for _, now := range c.root.Roles {
		var before *tufroot.RoleDescription
		if c.currentRoot != nil {
			before = c.currentRoot.Keys(now.Role)
		}
		out = append(out, roleChanges(now, before)...)
	}
	return append(out, warnings(c.root)...)
}

// warnings tell of keys that lie both in safes and in the running process.
func warnings(root *tufroot.Document) []string {
	var out []string
	for _, offline := range []string{"root", "targets"} {
		for _, online := range []string{"snapshot", "timestamp"} {
			for _, k := range root.Keys(online).Keys {
				if has(root.Keys(offline).Keys, k) {
					out = append(out, fmt.Sprintf("WARNING: key %s of role %s is one of role %s, too, with which the running process signs.", k.ID, offline, online))
				}
			}
		}
	}
	return out
}

func (c *Ceremony) expiry(what string, d *tufroot.Document) string {
	days := int(d.Expires.Sub(c.plan.Started) / (24 * time.Hour))
	return fmt.Sprintf("%s expires at %s, %d days after the start of this ceremony.", what, moment(d.Expires), days)
}

func roleChanges(now tufroot.RoleDescription, before *tufroot.RoleDescription) []string {
	size := fmt.Sprintf("%d of %d keys must sign", now.Threshold, len(now.Keys))
	if before == nil {
		out := []string{fmt.Sprintf("Role %s: %s.", now.Role, size)}
		for _, k := range now.Keys {
			out = append(out, fmt.Sprintf("Role %s: key %s.", now.Role, describe(k)))
		}
		return out
	}
	var out []string
	if before.Threshold == now.Threshold && len(before.Keys) == len(now.Keys) {
		out = append(out, fmt.Sprintf("Role %s: %s, as before.", now.Role, size))
	} else {
		out = append(out, fmt.Sprintf("Role %s: %s; before, %d of %d.", now.Role, size, before.Threshold, len(before.Keys)))
	}
	for _, k := range now.Keys {
		verb := "adds"
		if has(before.Keys, k) {
			verb = "keeps"
		}
		out = append(out, fmt.Sprintf("Role %s %s key %s.", now.Role, verb, describe(k)))
	}
	for _, k := range before.Keys {
		if !has(now.Keys, k) {
			out = append(out, fmt.Sprintf("Role %s REMOVES key %s.", now.Role, describe(k)))
		}
	}
	return out
}

func has(keys []tufroot.RoleKey, k tufroot.RoleKey) bool {
	return slices.ContainsFunc(keys, func(o tufroot.RoleKey) bool { return o.ID == k.ID })
}

func describe(k tufroot.RoleKey) string {
	kind := "ECDSA P-256"
	if _, ok := k.Public.(ed25519.PublicKey); ok {
		kind = "Ed25519"
	}
	return fmt.Sprintf("%s (%s)", k.ID, kind)
}

func (c *Ceremony) targetsChanges() []string {
	var out []string
	if c.currentTargets == nil {
		out = append(out, fmt.Sprintf("The targets are of version %d.", c.targets.Version))
	} else {
		out = append(out, fmt.Sprintf("The targets of version %d take the place of version %d.", c.targets.Version, c.currentTargets.Version))
	}
	out = append(out, c.expiry("The list of targets", c.targets))
	before := c.targetFiles(c.currentTargets, dirCurrentFiles)
	if c.currentTargets != nil && len(before) == 0 {
		out = append(out, fileChanges(c.currentTargets.Files, c.targets.Files)...)
	} else {
		differences := trust.Differences(before, c.Files())
		if len(differences) == 0 {
			out = append(out, "The targets are the same files as before.")
		}
		out = append(out, differences...)
	}
	for i, line := range out {
		out[i] = printable(line)
	}
	return out
}

// fileChanges tells of files by their digests.
func fileChanges(before, after []tufroot.DocumentFile) []string {
	old := map[string]tufroot.DocumentFile{}
	for _, f := range before {
		old[f.Name] = f
	}
	var out []string
	for _, f := range after {
		was, ok := old[f.Name]
		delete(old, f.Name)
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("File %s is added: %d bytes, SHA-256 %s, custom metadata %q.", f.Name, f.Length, f.SHA256, f.Custom))
		case was.SHA256 != f.SHA256 || string(was.Custom) != string(f.Custom):
			out = append(out, fmt.Sprintf("File %s changes from SHA-256 %s to %s, %d bytes, custom metadata %q to %q.",
				f.Name, was.SHA256, f.SHA256, f.Length, was.Custom, f.Custom))
		}
	}
	for _, f := range before {
		if _, gone := old[f.Name]; gone {
			out = append(out, fmt.Sprintf("File %s is REMOVED: SHA-256 %s.", f.Name, f.SHA256))
		}
	}
	if len(out) == 0 {
		out = append(out, "The targets are the same files as before.")
	}
	return out
}

// printable keeps what came in a file from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
