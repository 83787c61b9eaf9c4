package ceremony

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// checkDocuments demands drafts that follow upon what is published.
func (c *Ceremony) checkDocuments() error {
	switch {
	case c.root == nil && c.targets == nil:
		return errors.New("there is nothing to sign")
	case c.root == nil && c.currentRoot == nil:
		return errors.New("a draft of targets needs the root that says who signs it")
	case c.currentTargets != nil && c.currentRoot == nil:
		return errors.New("the current targets need the current root")
	}
	if err := c.checkCurrent(); err != nil {
		return err
	}
	if c.root != nil {
		if want := version(c.currentRoot) + 1; c.root.Version != want {
			return fmt.Errorf("the draft of the root has version %d, but the next one is %d: %w", c.root.Version, want, ErrStale)
		}
	}
	if c.targets != nil && c.targets.Version <= version(c.currentTargets) {
		return fmt.Errorf("the draft of targets has version %d, but %d is published: %w", c.targets.Version, c.currentTargets.Version, ErrStale)
	}
	for _, d := range []*tufroot.Document{c.root, c.targets} {
		if d != nil && len(d.Signatures()) > 0 {
			return fmt.Errorf("the draft of %s has signatures in it: drafts are unsigned", d.Role)
		}
	}
	return nil
}

// checkCurrent demands that what is published verifies.
func (c *Ceremony) checkCurrent() error {
	if c.currentRoot == nil {
		return nil
	}
	if k := c.currentRoot.Keys("root"); len(c.currentRoot.SignedBy(*k)) < k.Threshold {
		return errors.New("the current root is not signed as it asks for itself")
	}
	if c.currentTargets == nil {
		return nil
	}
	if k := c.currentRoot.Keys("targets"); len(c.currentTargets.SignedBy(*k)) < k.Threshold {
		return errors.New("the current targets are not signed as the current root asks for")
	}
	if c.root == nil || c.targets != nil {
		return nil
	}
	if k := c.root.Keys("targets"); len(c.currentTargets.SignedBy(*k)) < k.Threshold {
		return errors.New("the new root's targets keys have not signed the published targets: the ceremony needs a draft of targets, too, which both sign")
	}
	return nil
}

func version(d *tufroot.Document) int64 {
	if d == nil {
		return 0
	}
	return d.Version
}

// checkFiles demands exactly the files that targets name, with their content.
func (c *Ceremony) checkFiles() error {
	if err := c.checkDir(dirFiles, c.targets, true); err != nil {
		return err
	}
	return c.checkDir(dirCurrentFiles, c.currentTargets, false)
}

func (c *Ceremony) checkDir(dir string, targets *tufroot.Document, needed bool) error {
	here := map[string]bool{}
	for name := range c.files {
		if strings.HasPrefix(name, dir) {
			here[name] = true
		}
	}
	if targets == nil || (!needed && len(here) == 0) {
		if len(here) > 0 {
			return fmt.Errorf("there are %s without targets that name them", strings.TrimSuffix(dir, "/"))
		}
		return nil
	}
	for _, f := range targets.Files {
		name := dir + f.Name
		data, ok := c.files[name]
		switch {
		case !ok:
			return fmt.Errorf("%s is missing, which the targets name", name)
		case int64(len(data)) != f.Length || digest(data) != f.SHA256:
			return fmt.Errorf("%s is not the file that the targets name", name)
		}
		delete(here, name)
	}
	for name := range here {
		return fmt.Errorf("%s is there, but the targets do not name it", name)
	}
	return nil
}

func (c *Ceremony) targetFiles(targets *tufroot.Document, dir string) []trust.Target {
	if targets == nil {
		return nil
	}
	var out []trust.Target
	for _, f := range targets.Files {
		if data, ok := c.files[dir+f.Name]; ok {
			out = append(out, trust.Target{Name: f.Name, Data: data, Custom: f.Custom})
		}
	}
	return out
}

// need is one demand for signatures on a draft.
type need struct {
	of    string // in words: whose keys these are
	keys  tufroot.RoleDescription
	draft *tufroot.Document
}

// needed lists the demands: a draft of the root satisfies the current root and
// itself, a draft of targets the current root and the draft of the next.
func (c *Ceremony) needed() []need {
	var out []need
	add := func(draft, by *tufroot.Document, of string) {
		if draft == nil || by == nil {
			return
		}
		n := need{of, *by.Keys(draft.Role), draft}
		if k := len(out) - 1; k >= 0 && out[k].draft == draft && reflect.DeepEqual(out[k].keys, n.keys) {
			out[k].of = "the current and the new root"
			return
		}
		out = append(out, n)
	}
	add(c.root, c.currentRoot, "the current root")
	add(c.root, c.root, "the new root")
	add(c.targets, c.currentRoot, "the current root")
	add(c.targets, c.root, "the new root")
	return out
}

// key finds a key among those of whom draft needs signatures.
func (c *Ceremony) key(role, id string) (tufroot.RoleKey, *tufroot.Document, bool) {
	for _, n := range c.needs {
		if n.draft.Role != role {
			continue
		}
		for _, k := range n.keys.Keys {
			if k.ID == id {
				return k, n.draft, true
			}
		}
	}
	return tufroot.RoleKey{}, nil, false
}

// keys lists all keys that are asked for, each once.
func (c *Ceremony) keys() []tufroot.RoleKey {
	var out []tufroot.RoleKey
	seen := map[string]bool{}
	for _, n := range c.needs {
		for _, k := range n.keys.Keys {
			if !seen[k.ID] {
				seen[k.ID] = true
				out = append(out, k)
			}
		}
	}
	return out
}
