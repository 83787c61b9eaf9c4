package stack

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/trust"
	"sigstack/services/ctlog"
)

// ctLogs are the CT logs of this process.
type ctLogs struct {
	mu    sync.Mutex          // held while roots change
	logs  []*ownCT            // guarded by mu: in the order of config.yaml; never changed in place
	ready []*ownCT            // guarded by mu: opened for a reload that has not come to its end
	own   []*x509.Certificate // guarded by mu: the CA's
	extra []*x509.Certificate // guarded by mu: of ctlog.roots
}

// ownCT is a CT log of this process.
type ownCT struct {
	*ctlog.Service

	shard config.CTShard // as it was opened
	key   keys.Key
	tree  *merkle.Tree
}

// all returns the logs that are served.
func (l *ctLogs) all() []*ownCT {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.logs
}

// opened returns those that are served, and those that are about to be.
func (l *ctLogs) opened() []*ownCT {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Concat(l.logs, l.ready)
}

// byPrefix finds a log, nil if it is not among list.
func byPrefix(list []*ownCT, prefix string) *ownCT {
	i := slices.IndexFunc(list, func(l *ownCT) bool { return l.shard.Prefix == prefix })
	if i < 0 {
		return nil
	}
	return list[i]
}

// hasKey reports whether a key is a log's.
func (l *ctLogs) hasKey(name string) bool {
	return slices.ContainsFunc(l.opened(), func(log *ownCT) bool { return log.key.Name == name })
}

// SetRoots makes every log take what own and the configured roots issue. On an
// error all are as they were.
func (l *ctLogs) SetRoots(own []*x509.Certificate) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.set(own, l.extra)
	return err
}

// setExtra does so for other configured roots, and reports whether they differ.
func (l *ctLogs) setExtra(extra []*x509.Certificate) (changed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.set(l.own, extra)
}

// set needs l.mu.
func (l *ctLogs) set(own, extra []*x509.Certificate) (changed bool, err error) {
	roots := eachOnce(own, extra)
	all := slices.Concat(l.logs, l.ready)
	for i, log := range all {
		before := log.Roots()
		if slices.EqualFunc(before, roots, (*x509.Certificate).Equal) {
			continue
		}
		changed = true
		if err := log.SetRoots(roots); err != nil {
			for _, done := range all[:i] {
				err = errors.Join(err, done.SetRoots(before))
			}
			return false, err
		}
	}
	l.own, l.extra = own, extra
	return changed, nil
}

func eachOnce(lists ...[]*x509.Certificate) (out []*x509.Certificate) {
	for _, c := range slices.Concat(lists...) {
		if !slices.ContainsFunc(out, c.Equal) {
			out = append(out, c)
		}
	}
	return out
}

// takeCTRoots takes the roots of a configuration that is reloaded, and reports
// whether they differ.
func (s *Stack) takeCTRoots(conf *config.Config) (changed bool, err error) {
	if s.services.ctlog == nil || conf.CTLog == nil {
		return false, nil
	}
	extra, err := s.layout.extraRoots(conf.CTLog)
	if err != nil {
		return false, err
	}
	return s.services.ctlog.setExtra(extra)
}

// extraRoots reads the files of ctlog.roots.
func (l Layout) extraRoots(conf *config.CTLog) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for i, path := range conf.Roots {
		certs, err := l.chain(path)
		if err != nil {
			return nil, fmt.Errorf("ctlog.roots[%d]: %w", i, err)
		}
		out = append(out, certs...)
	}
	return out, nil
}

// ctTree names the tree of a CT log, in storage and in checkpoints/.
func ctTree(conf *config.CTLog, shard config.CTShard) string {
	if shard.Prefix == conf.Prefix {
		return treeCTLog
	}
	return ctName(shard.Prefix)
}

// ctName names key and tree of a further CT log.
func ctName(prefix string) string { return treeCTLog + "-" + prefix }

func (b *builder) buildCTLog(ctx context.Context) error {
	conf := b.starting.CTLog
	own, err := b.ctRoots()
	if err != nil {
		return err
	}
	extra, err := b.layout.extraRoots(conf)
	if err != nil {
		return err
	}
	all := &ctLogs{own: own, extra: extra}
	b.services.ctlog = all
	for _, shard := range conf.Logs() {
		log, err := b.openCT(ctx, shard, shard.State == config.CTFrozen)
		if err != nil {
			return fmt.Errorf("log %s: %w", shard.Prefix, err)
		}
		b.services.addKey(log.key)
		b.run(log.treeName(b.conf)+" tree", log.tree.Run)
		all.logs = append(all.logs, log)
		log.Mount(b.mux)
	}
	return nil
}

func (l *ownCT) treeName(conf *config.Config) string { return ctTree(conf.CTLog, l.shard) }

// openCT opens a CT log, which nothing runs or serves yet. One that is to be frozen
// gets its last tree head if sign says so; otherwise it is closed until it has one.
func (s *Stack) openCT(ctx context.Context, shard config.CTShard, sign bool) (*ownCT, error) {
	key, err := s.keys.Load(shard.Key)
	if err != nil {
		return nil, err
	}
	conf, name := s.conf.CTLog, ctTree(s.conf.CTLog, shard)
	tree, err := s.openTree(ctx, name, shard.TreeID, func(c *merkle.Config) {
		c.TimeStep = time.Millisecond
		if !sign {
			c.RefreshEvery = min(ctRefresh, conf.MaxDelay()/2)
		}
	})
	if err != nil {
		return nil, err
	}
	if tree.Frozen() {
		return nil, fmt.Errorf("tree %d of the CT log is frozen", tree.ID())
	}
	final, err := s.layout.finalHead(name, tree.Head(), key, sign)
	if err != nil {
		return nil, err
	}
	state := ctlog.State(shard.State)
	if state == ctlog.Frozen && final == nil {
		state = ctlog.ReadOnly
	}
	from, to := shard.Range()
	service, err := ctlog.New(ctx, ctlog.Config{
		Tree: tree, Signer: key, Roots: eachOnce(s.services.ctlog.own, s.services.ctlog.extra), Prefix: shard.Prefix, URL: s.conf.URL,
		State: state, FinalHead: final, NotAfterStart: from, NotAfterLimit: to,
		MergeDelay: conf.MaxDelay(), Entries: conf.MaxEntries,
		TempDir: s.layout.Run(), Now: s.opts.Now, Log: s.opts.Log, Metrics: s.metrics,
	})
	if err != nil {
		return nil, err
	}
	return &ownCT{service, shard, key, tree}, nil
}

// FinalHead is the file with the last tree head of a frozen CT log.
func (l Layout) FinalHead(tree string) string {
	return filepath.Join(l.Checkpoints(), tree+".final.json")
}

// finalHead returns the last tree head of a CT log, nil if there is none yet. A log
// that is to be frozen gets one, which is durable before anybody sees it.
func (l Layout) finalHead(tree string, head merkle.Head, key keys.Key, freeze bool) ([]byte, error) {
	path := l.FinalHead(tree)
	final, err := os.ReadFile(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return final, err
	}
	if !freeze {
		return nil, nil
	}
	if final, err = ctlog.SignHead(head, key); err != nil {
		return nil, err
	}
	return final, durable.CreateFile(path, final, 0o644)
}

// ctMaterial is what clients have to know of the CT logs, of this stack and of
// others: whatever they are used for now, they stay. What was published, and is not
// used yet, is there too. A start does not add one that config.yaml had, and has lost.
func (s *Stack) ctMaterial() []trust.Log {
	var out []trust.Log
	for _, log := range s.services.ctlog.all() {
		t := log.Trust()
		// A split stack compares its processes' parts, which must not change by
		// themselves.
		t.Idle = s.conf.Peers == nil && !log.Takes(s.opts.Now())
		out = append(out, t)
	}
	out = append(out, s.services.foreign.known()...)
	for _, r := range s.ctRecords.all() {
		if there := s.serving || r.Used.IsZero(); there && !r.Published.IsZero() && !knowsCT(out, r.Key) {
			out = append(out, r.trust())
		}
	}
	return out
}

func knowsCT(list []trust.Log, key []byte) bool {
	return slices.ContainsFunc(list, func(l trust.Log) bool { return bytes.Equal(l.PublicKey, key) })
}
