package stack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// config.yaml says which CT logs are used. ctlogs.json, which is there once one was
// prepared or published by an act, lists those: when clients got to know each, and
// what it is as long as config.yaml does not have it yet.

// CTLogs is the file with the CT logs that were added.
func (l Layout) CTLogs() string { return filepath.Join(l.Dir, "ctlogs.json") }

// ctVersion is that of the file's format.
const ctVersion = 1

// ctRecord is a CT log that was added.
type ctRecord struct {
	URL string `json:"url"`
	Key []byte `json:"key"` // DER SubjectPublicKeyInfo
	// Start and End are what clients are told; End is zero for no end.
	Start time.Time `json:"start"`
	End   time.Time `json:"end,omitzero"`
	// Own is what config.yaml is to have of a log of this stack; nil: it is another's.
	Own *ctOwn `json:"own,omitempty"`
	// Published is when the key was in the trust material; zero: it may not be yet.
	Published time.Time `json:"published,omitzero"`
	// Distributed is from when on every client has it.
	Distributed time.Time `json:"distributed,omitzero"`
	// Used is since when config.yaml has it; zero: it did not yet.
	Used time.Time `json:"used,omitzero"`
}

// ctOwn is a log of this stack, as config.CTShard.
type ctOwn struct {
	Prefix        string `json:"prefix"`
	Key           string `json:"key"` // its name in keys/
	TreeID        int64  `json:"tree_id,string"`
	NotAfterStart string `json:"not_after_start,omitempty"`
	NotAfterLimit string `json:"not_after_limit,omitempty"`
}

func (o ctOwn) shard() config.CTShard {
	return config.CTShard{Key: o.Key, TreeID: o.TreeID, Prefix: o.Prefix, NotAfterStart: o.NotAfterStart, NotAfterLimit: o.NotAfterLimit}
}

func ownOf(s config.CTShard) *ctOwn {
	return &ctOwn{Prefix: s.Prefix, Key: s.Key, TreeID: s.TreeID, NotAfterStart: s.NotAfterStart, NotAfterLimit: s.NotAfterLimit}
}

// trust is what clients are told of the log.
func (r ctRecord) trust() trust.Log {
	return trust.Log{BaseURL: r.URL, PublicKey: r.Key, APIVersion: 1, Window: trust.Window{Start: r.Start, End: r.End}, Idle: true}
}

type ctFile struct {
	Version int        `json:"version"`
	Logs    []ctRecord `json:"logs"`
}

// ctRecords are the CT logs that were added.
type ctRecords struct {
	file string

	mu   sync.Mutex
	list []ctRecord // guarded by mu: in the order in which they were added; never changed in place
}

// decodeCTLogs reads the file and accepts nothing that is not whole.
func decodeCTLogs(data []byte) ([]ctRecord, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var f ctFile
	if err := dec.Decode(&f); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	if f.Version != ctVersion {
		return nil, fmt.Errorf("version %d, this program reads %d", f.Version, ctVersion)
	}
	for i, r := range f.Logs {
		if err := r.check(f.Logs[:i]); err != nil {
			return nil, fmt.Errorf("log %d: %w", i+1, err)
		}
	}
	return f.Logs, nil
}

func (r ctRecord) check(before []ctRecord) error {
	u, err := url.Parse(r.URL)
	switch {
	case err != nil || u.Host == "":
		return fmt.Errorf("%.70q is not a URL", r.URL)
	case len(r.Key) == 0 || r.Start.IsZero():
		return errors.New("it has no key, or no start")
	case !r.End.IsZero() && !r.Start.Before(r.End):
		return errors.New("it ends before it starts")
	case r.Own != nil && (r.Own.Key == "" || r.Own.TreeID <= 0 || !strings.HasSuffix(r.URL, "/"+r.Own.Prefix)):
		return errors.New("it has no key in keys/, no tree, or another prefix than its URL")
	case r.Published.IsZero() && !(r.Distributed.IsZero() && r.Used.IsZero()):
		return errors.New("it was distributed or used before it was published")
	case r.Distributed.Before(r.Published):
		return errors.New("it was distributed before it was published")
	case slices.ContainsFunc(before, func(x ctRecord) bool { return x.URL == r.URL || bytes.Equal(x.Key, r.Key) }):
		return errors.New("it is there twice")
	}
	return nil
}

// readCTLogs reads the file; nothing without it.
func (l Layout) readCTLogs() ([]ctRecord, error) {
	data, err := os.ReadFile(l.CTLogs())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read CT logs: %w", err)
	}
	list, err := decodeCTLogs(data)
	if err != nil {
		return nil, fmt.Errorf("read CT logs: %s: %w", l.CTLogs(), err)
	}
	return list, nil
}

// CTLogKeys names the keys of the CT logs that were prepared.
func (l Layout) CTLogKeys() (names []string, err error) {
	list, err := l.readCTLogs()
	for _, r := range list {
		if r.Own != nil {
			names = append(names, r.Own.Key)
		}
	}
	return names, err
}

func (c *ctRecords) all() []ctRecord {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list
}

// set replaces the list, durably first.
func (c *ctRecords) set(list []ctRecord) error {
	data, err := json.MarshalIndent(ctFile{ctVersion, list}, "", "  ")
	if err != nil {
		return fmt.Errorf("write CT logs: %w", err)
	}
	if err := durable.WriteFile(c.file, append(data, '\n'), 0o600); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = list
	return nil
}

// change replaces those records that f changes.
func (c *ctRecords) change(f func(*ctRecord)) error {
	list := slices.Clone(c.all())
	changed := false
	for i := range list {
		before := list[i]
		f(&list[i])
		changed = changed || !list[i].same(before)
	}
	if !changed {
		return nil
	}
	return c.set(list)
}

func (r ctRecord) same(other ctRecord) bool {
	return r.Published.Equal(other.Published) && r.Distributed.Equal(other.Distributed) && r.Used.Equal(other.Used)
}

// find returns the record of a key.
func findCT(list []ctRecord, key []byte) (ctRecord, bool) {
	i := slices.IndexFunc(list, func(r ctRecord) bool { return bytes.Equal(r.Key, key) })
	if i < 0 {
		return ctRecord{}, false
	}
	return list[i], true
}

// openCTRecords reads what is known of CT logs that were added.
func (s *Stack) openCTRecords() error {
	list, err := s.layout.readCTLogs()
	if err != nil {
		return err
	}
	s.ctRecords = &ctRecords{file: s.layout.CTLogs(), list: list}
	s.starting = s.conf
	waits := func(r ctRecord) bool { return r.Published.IsZero() }
	if s.conf.TUF != nil && s.conf.Peers == nil && slices.ContainsFunc(list, waits) {
		repo, err := tufroot.Open(s.layout.repository(s.conf, s.opts.Now))
		if err != nil {
			return err
		}
		if err := s.settleCT(repo, time.Time{}); err != nil {
			return err
		}
	}
	s.starting = s.startCT()
	return s.noteUsedCT(s.conf)
}

// settleCT notes those logs as published that are in the trust material, and that
// every client has them not before a moment. A publication that was interrupted when
// it was out is found so by the next act, or the next start.
func (s *Stack) settleCT(repo *tufroot.Repository, earliest time.Time) error {
	known, err := publishedCT(repo)
	if err != nil {
		return err
	}
	now := s.opts.Now().UTC().Truncate(time.Second)
	distributed := s.distributed(repo, s.opts.Now())
	if earliest.After(distributed) {
		distributed = earliest
	}
	distributed = distributed.Add(time.Second - 1).Truncate(time.Second).UTC()
	return s.ctRecords.change(func(r *ctRecord) {
		if r.Published.IsZero() && slices.ContainsFunc(known, func(k trust.KnownLog) bool { return bytes.Equal(k.PublicKey, r.Key) }) {
			r.Published, r.Distributed = now, distributed
		}
	})
}

// publishedCT are the CT logs that clients know.
func publishedCT(repo *tufroot.Repository) ([]trust.KnownLog, error) {
	data, err := repo.Target(trust.TrustedRootName)
	if err != nil {
		return nil, err
	}
	root, err := trust.ParseTrustedRoot(data)
	if err != nil {
		return nil, fmt.Errorf("published %s: %w", trust.TrustedRootName, err)
	}
	return root.CTLogs, nil
}
