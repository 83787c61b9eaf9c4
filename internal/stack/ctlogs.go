package stack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/trust"
	"sigstack/services/ca/sct"
	"sigstack/services/ctlog"
)

// ctLogs are the CT logs of this process.
type ctLogs struct {
	logs []*ctlog.Service

	mu    sync.Mutex          // held while roots change
	own   []*x509.Certificate // guarded by mu: the CA's
	extra []*x509.Certificate // guarded by mu: of ctlog.roots
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
	for i, log := range l.logs {
		before := log.Roots()
		if slices.EqualFunc(before, roots, (*x509.Certificate).Equal) {
			continue
		}
		changed = true
		if err := log.SetRoots(roots); err != nil {
			for _, done := range l.logs[:i] {
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
	if shard == conf.CTShard {
		return treeCTLog
	}
	return treeCTLog + "-" + shard.Prefix
}

func (b *builder) buildCTLog(ctx context.Context) error {
	conf := b.conf.CTLog
	own, err := b.ctRoots()
	if err != nil {
		return err
	}
	extra, err := b.layout.extraRoots(conf)
	if err != nil {
		return err
	}
	all, roots := &ctLogs{own: own, extra: extra}, eachOnce(own, extra)
	for _, shard := range conf.Logs() {
		log, err := b.buildCTShard(ctx, conf, shard, roots)
		if err != nil {
			return fmt.Errorf("log %s: %w", shard.Prefix, err)
		}
		all.logs = append(all.logs, log)
		log.Mount(b.mux)
	}
	b.services.ctlog = all
	return nil
}

func (b *builder) buildCTShard(ctx context.Context, conf *config.CTLog, shard config.CTShard, roots []*x509.Certificate) (*ctlog.Service, error) {
	key, err := b.key(shard.Key)
	if err != nil {
		return nil, err
	}
	name, frozen := ctTree(conf, shard), shard.State == config.CTFrozen
	tree, err := b.openTree(ctx, name, shard.TreeID, func(c *merkle.Config) {
		c.TimeStep = time.Millisecond
		if !frozen {
			c.RefreshEvery = min(ctRefresh, conf.MaxDelay()/2)
		}
	})
	if err != nil {
		return nil, err
	}
	if tree.Frozen() {
		return nil, fmt.Errorf("tree %d of the CT log is frozen", tree.ID())
	}
	final, err := b.layout.finalHead(name, tree.Head(), key, frozen)
	if err != nil {
		return nil, err
	}
	b.run(name+" tree", tree.Run)
	from, to := shard.Range()
	return ctlog.New(ctx, ctlog.Config{
		Tree: tree, Signer: key, Roots: roots, Prefix: shard.Prefix, URL: b.conf.URL,
		State: ctlog.State(shard.State), FinalHead: final, NotAfterStart: from, NotAfterLimit: to,
		MergeDelay: conf.MaxDelay(), Entries: conf.MaxEntries,
		TempDir: b.layout.Run(), Now: b.opts.Now, Log: b.opts.Log, Metrics: b.metrics,
	})
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
// others: whatever they are used for now, they stay.
func (s *Stack) ctMaterial() []trust.Log {
	if s.services.ctlog == nil {
		return s.services.ctForeign
	}
	var out []trust.Log
	for _, log := range s.services.ctlog.logs {
		t := log.Trust()
		// A split stack compares its processes' parts, which must not change by
		// themselves.
		t.Idle = s.conf.Peers == nil && !log.Takes(s.opts.Now())
		out = append(out, t)
	}
	return append(out, s.services.ctForeign...)
}

// publicKey reads a PEM file with one public key.
func (l Layout) publicKey(path string) ([]byte, error) {
	data, err := os.ReadFile(l.path(path))
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("%s is not one PUBLIC KEY in PEM", path)
	}
	if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return block.Bytes, nil
}

// ctLogs are the logs that the CA submits to, in order.
func (b *builder) ctLogs() ([]sct.Log, error) {
	clients := b.conf.CA.CTLogs
	if len(clients) == 0 {
		clients = []config.CTClient{{Own: true}}
	}
	var out []sct.Log
	for i, c := range clients {
		var logs []sct.Log
		var err error
		switch {
		case c.Retired:
			_, err = b.makeKnown(c)
		case !c.Own:
			logs, err = b.foreignLog(c)
		case b.services.ctlog != nil:
			logs = b.ownLogs()
		default:
			logs, err = b.linkedLogs()
		}
		if err != nil {
			return nil, fmt.Errorf("ca.ct_logs[%d]: %w", i, err)
		}
		out = append(out, logs...)
	}
	if len(out) == 0 {
		return nil, errors.New("every CT log is read-only or frozen: without one that takes certificates none is issued")
	}
	return out, nil
}

// ownLogs are those of this process that take certificates.
func (b *builder) ownLogs() []sct.Log {
	var out []sct.Log
	for i, shard := range b.conf.CTLog.Logs() {
		if shard.State != "" {
			continue
		}
		log := b.services.ctlog.logs[i]
		from, to := shard.Range()
		out = append(out, sct.Log{
			Name: shard.Prefix, Key: log.Trust().PublicKey, Submit: log.AddPreChain, NotAfterStart: from, NotAfterLimit: to,
		})
	}
	// Where ranges overlap, the log that begins later takes over.
	slices.SortStableFunc(out, func(a, b sct.Log) int { return b.NotAfterStart.Compare(a.NotAfterStart) })
	return out
}

// linkedLogs are those of the process that has the CT logs. What clients know of a
// log does not say from when on it takes certificates; of those that end late
// enough for one, the first that ends is meant for it.
func (b *builder) linkedLogs() ([]sct.Log, error) {
	logs, err := b.otherCTLogs()
	if err != nil {
		return nil, err
	}
	var out []sct.Log
	for _, l := range logs {
		submit, err := submitTo(b.linkTo("ctlog"), l)
		if err != nil {
			return nil, err
		}
		out = append(out, sct.Log{
			Name: strings.TrimPrefix(l.BaseURL, b.conf.URL+"/"), Key: l.PublicKey, Submit: submit, Again: true, NotAfterLimit: l.Window.End,
		})
	}
	return out, nil
}

// makeKnown lets clients trust a log of others, and returns its key.
func (b *builder) makeKnown(c config.CTClient) (spki []byte, err error) {
	if spki, err = b.layout.publicKey(c.Key); err != nil {
		return nil, err
	}
	since, err := time.Parse(time.RFC3339, c.Since)
	if err != nil {
		return nil, err
	}
	_, end := c.Range()
	b.services.ctForeign = append(b.services.ctForeign, trust.Log{
		BaseURL: c.URL, PublicKey: spki, APIVersion: 1, Window: trust.Window{Start: since, End: end}, Idle: true,
	})
	return spki, nil
}

// foreignLog is a log of others.
func (b *builder) foreignLog(c config.CTClient) ([]sct.Log, error) {
	spki, err := b.makeKnown(c)
	if err != nil {
		return nil, err
	}
	transport, err := b.layout.ctTransport(c)
	if err != nil {
		return nil, err
	}
	b.onClose(func() error { transport.CloseIdleConnections(); return nil })
	submit, err := sct.Remote{URL: c.URL, Host: c.Host, Transport: transport, Now: b.opts.Now}.Submit()
	if err != nil {
		return nil, err
	}
	from, to := c.Range()
	log := sct.Log{Name: c.URL, Key: spki, Submit: submit, Again: true, NotAfterStart: from, NotAfterLimit: to}
	return []sct.Log{log}, nil
}

// ctTransport reaches a log of others, past no proxy that the environment names.
func (l Layout) ctTransport(c config.CTClient) (*http.Transport, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CACert != "" {
		certs, err := l.chain(c.CACert)
		if err != nil {
			return nil, fmt.Errorf("ca_cert: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		for _, cert := range certs {
			conf.RootCAs.AddCert(cert)
		}
	}
	return &http.Transport{
		TLSClientConfig: conf, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16,
		IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 2 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}, nil
}

// reportCTLog tells readiness of a log that the CA submits to. Those of this
// process, and the process that has them, tell of themselves.
func (s *Stack) reportCTLog(name string, err error) {
	if !s.isForeign(name) {
		return
	}
	status, detail := httpd.OK, "CT log "+name+" gives timestamps"
	if err != nil {
		status, detail = httpd.Warn, "CT log "+name+" gives no timestamps: "+fault.Public(err)
	}
	s.ready.SetPart("ca", "CT log "+name, status, detail)
}

func (s *Stack) isForeign(name string) bool {
	return slices.ContainsFunc(s.conf.CA.CTLogs, func(c config.CTClient) bool { return !c.Own && !c.Retired && c.URL == name })
}
