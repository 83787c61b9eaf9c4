package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sigstack/internal/durable"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// compromised.json, which is there once a key was declared compromised, lists the ends
// of trust that were published for that. Keys, chains and shards stay listed where
// they are: an end here is laid over what trust material says of them.

// Compromised is the file with the ends of trust of compromised keys.
func (l Layout) Compromised() string { return filepath.Join(l.Dir, "compromised.json") }

// compromisedVersion is that of the file's format.
const compromisedVersion = 1

// What a compromised key signs.
const (
	CompromisedCA    = "ca"    // certificates
	CompromisedLog   = "log"   // entries of the transparency log
	CompromisedTSA   = "tsa"   // timestamps
	CompromisedCTLog = "ctlog" // timestamps of certificates
)

// In the order of messages.
var compromisedKinds = []string{CompromisedCA, CompromisedLog, CompromisedTSA, CompromisedCTLog}

// CompromisedKinds are all of those.
func CompromisedKinds() []string { return slices.Clone(compromisedKinds) }

// Compromise is a key that is trusted no longer than to a moment.
type Compromise struct {
	Kind string `json:"kind"` // ca, log, tsa or ctlog
	Key  string `json:"key"`  // SHA-256 of its SubjectPublicKeyInfo, hex
	// At is the end, in whole seconds: what was signed then is the last that is good.
	At time.Time `json:"at"`
	// Published is when the end went into the trust material, and Distributed from
	// when on every client has it; both zero for a draft.
	Published   time.Time `json:"published,omitzero"`
	Distributed time.Time `json:"distributed,omitzero"`
}

type compromisedFile struct {
	Version int          `json:"version"`
	Ended   []Compromise `json:"ended"`
	Draft   *Compromise  `json:"draft,omitempty"` // to be published next
}

// compromises are the ends of trust of compromised keys.
type compromises struct {
	file string

	mu    sync.Mutex
	ended []Compromise // guarded by mu: as published; never changed in place
	draft *Compromise  // guarded by mu: likewise, to be published next
}

// decodeCompromised reads the file and accepts nothing that is not whole.
func decodeCompromised(data []byte) (f compromisedFile, err error) {
	if err := decodeStrict(data, &f); err != nil {
		return f, err
	}
	if f.Version != compromisedVersion {
		return f, fmt.Errorf("version %d, this program reads %d", f.Version, compromisedVersion)
	}
	all := f.Ended
	if f.Draft != nil {
		all = append(slices.Clone(all), *f.Draft)
	}
	for i, c := range all {
		if err := c.check(); err != nil {
			return f, fmt.Errorf("key %d: %w", i+1, err)
		}
		if i < len(f.Ended) && c.Published.IsZero() {
			return f, fmt.Errorf("key %d was never published", i+1)
		}
	}
	return f, nil
}

func (c Compromise) check() error {
	id, err := hex.DecodeString(c.Key)
	switch {
	case err != nil || len(id) != sha256.Size:
		return fmt.Errorf("%q is not a SHA-256", c.Key)
	case !slices.Contains(compromisedKinds, c.Kind):
		return fmt.Errorf("kind %q is none of %v", c.Kind, compromisedKinds)
	case c.At.IsZero() || !c.At.Equal(c.At.Truncate(time.Second)):
		return errors.New("the end is not in whole seconds")
	case c.Distributed.Before(c.Published):
		return errors.New("it was distributed before it was published")
	}
	return nil
}

// openCompromises reads the file, and notes a publication that was interrupted when
// it was out and not noted yet.
func (s *Stack) openCompromises() error {
	s.compromised = &compromises{file: s.layout.Compromised()}
	data, err := os.ReadFile(s.compromised.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read compromised keys: %w", err)
	}
	f, err := decodeCompromised(data)
	if err != nil {
		return fmt.Errorf("read compromised keys: %s: %w", s.compromised.file, err)
	}
	s.compromised.ended, s.compromised.draft = f.Ended, f.Draft
	if f.Draft == nil || s.conf.TUF == nil {
		return nil
	}
	repo, err := tufroot.Open(s.layout.repository(s.conf, s.opts.Now))
	if err != nil {
		return err
	}
	found, err := publishedEnd(repo, *f.Draft)
	if err != nil || !found {
		return err
	}
	return s.noteCompromise(*f.Draft, repo, time.Time{})
}

// publishedEnd reports whether the published trusted root has an end.
func publishedEnd(repo *tufroot.Repository, c Compromise) (bool, error) {
	root, err := publishedRoot(repo)
	if err != nil {
		return false, err
	}
	windows := c.windows(root)
	return len(windows) > 0 && !slices.ContainsFunc(windows, func(w *trust.Window) bool { return !w.End.Equal(c.At) }), nil
}

func publishedRoot(repo *tufroot.Repository) (trust.Root, error) {
	data, err := repo.Target(trust.TrustedRootName)
	if err != nil {
		return trust.Root{}, err
	}
	root, err := trust.ParseTrustedRoot(data)
	if err != nil {
		return trust.Root{}, fmt.Errorf("published %s: %w", trust.TrustedRootName, err)
	}
	return root, nil
}

// set replaces both, durably first.
func (c *compromises) set(ended []Compromise, draft *Compromise) error {
	data, err := json.MarshalIndent(compromisedFile{compromisedVersion, ended, draft}, "", "  ")
	if err != nil {
		return fmt.Errorf("write compromised keys: %w", err)
	}
	if err := durable.WriteFile(c.file, append(data, '\n'), 0o600); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended, c.draft = ended, draft
	return nil
}

// all returns what is published, and what is to be next.
func (c *compromises) all() (ended []Compromise, draft *Compromise) {
	if c == nil {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended, c.draft
}

// withEnds is material with the ends of trust of compromised keys.
func (s *Stack) withEnds(m trust.Material) trust.Material {
	ended, _ := s.compromised.all()
	for _, c := range ended {
		m = c.in(m)
	}
	return m
}

// in is material with the end. It changes nothing in place.
func (c Compromise) in(m trust.Material) trust.Material {
	switch c.Kind {
	case CompromisedCA:
		m.CAs = slices.Clone(m.CAs)
		c.endAuthorities(m.CAs)
	case CompromisedTSA:
		m.TSAs = slices.Clone(m.TSAs)
		c.endAuthorities(m.TSAs)
	case CompromisedLog:
		m.TLogs = slices.Clone(m.TLogs)
		c.endLogs(m.TLogs)
	case CompromisedCTLog:
		m.CTLogs = slices.Clone(m.CTLogs)
		c.endLogs(m.CTLogs)
	}
	return m
}

func (c Compromise) endAuthorities(list []trust.Authority) {
	for i, a := range list {
		if idOf(a.Chain[0].RawSubjectPublicKeyInfo) == c.Key {
			c.end(&list[i].Window)
		}
	}
}

func (c Compromise) endLogs(list []trust.Log) {
	for i, l := range list {
		if idOf(l.PublicKey) == c.Key {
			c.end(&list[i].Window)
		}
	}
}

// end ends a window unless it ends earlier. Never before it begins: that would be no
// window, which clients refuse as a whole.
func (c Compromise) end(w *trust.Window) {
	if at := c.At; w.End.IsZero() || at.Before(w.End) {
		if at.Before(w.Start) {
			at = w.Start
		}
		w.End = at
	}
}

// windows are those of the key in a trusted root.
func (c Compromise) windows(root trust.Root) (out []*trust.Window) {
	logs := map[string][]trust.KnownLog{CompromisedLog: root.TLogs, CompromisedCTLog: root.CTLogs}[c.Kind]
	for i, l := range logs {
		if idOf(l.PublicKey) == c.Key {
			out = append(out, &logs[i].Window)
		}
	}
	authorities := map[string][]trust.Authority{CompromisedCA: root.CAs, CompromisedTSA: root.TSAs}[c.Kind]
	for i, a := range authorities {
		if idOf(a.Chain[0].RawSubjectPublicKeyInfo) == c.Key {
			out = append(out, &authorities[i].Window)
		}
	}
	return out
}

// endedAt reports whether the trust in a key ended, and when.
func (s *Stack) endedAt(kind string, spki []byte) (time.Time, bool) {
	ended, _ := s.compromised.all()
	i := slices.IndexFunc(ended, func(c Compromise) bool { return c.Kind == kind && c.Key == idOf(spki) })
	if i < 0 {
		return time.Time{}, false
	}
	return ended[i].At, true
}

// endOf is the end of the window of an authority whose first certificate has that key:
// end, or that of its compromise if it is earlier.
func (s *Stack) endOf(kind string, spki []byte, end time.Time) time.Time {
	at, ok := s.endedAt(kind, spki)
	if ok && (end.IsZero() || at.Before(end)) {
		return at
	}
	return end
}

// ended are chains with the ends of compromised keys.
func (a *authority) ended(list []signChain) []signChain {
	out := slices.Clone(list)
	for i, c := range out {
		out[i].End = a.s.endOf(a.of.String(), c.certs[0].RawSubjectPublicKeyInfo, c.End)
	}
	return out
}

// endedCT reports whether the window of a published CT log ends for a compromise. A
// file that cannot be read is told by who opens the stack.
func (l Layout) endedCT(k trust.KnownLog) bool {
	data, err := os.ReadFile(l.Compromised())
	if err != nil {
		return false
	}
	f, err := decodeCompromised(data)
	return err == nil && slices.ContainsFunc(f.Ended, func(c Compromise) bool {
		return c.Kind == CompromisedCTLog && c.Key == idOf(k.PublicKey) && c.At.Equal(k.Window.End)
	})
}

// takeCompromised takes the list, which every process lays over its part.
func (sh *share) takeCompromised(from Layout) error {
	data, err := os.ReadFile(from.Compromised())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read compromised keys: %w", err)
	}
	f, err := decodeCompromised(data)
	if err != nil {
		return fmt.Errorf("read compromised keys: %s: %w", from.Compromised(), err)
	}
	if f.Draft != nil {
		return errors.New("the end of trust in a key is drafted, and could not be published in a split stack: go on with it first, with sigstack compromise")
	}
	sh.files = append(sh.files, Layout{}.Compromised())
	return nil
}
