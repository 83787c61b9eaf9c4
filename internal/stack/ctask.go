package stack

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/trust"
	"sigstack/services/ca/sct"
)

// foreignCT is what there is of CT logs of others.
type foreignCT struct {
	mu  sync.Mutex
	now askedCT // guarded by mu; replaced as a whole
}

// askedCT are the CT logs that the CA asks, and those of others that it has asked.
type askedCT struct {
	logs       []sct.Log         // in order
	words      []string          // what tells the list from another one, a line each
	foreign    []trust.Log       // retired ones too
	transports []*http.Transport // to those of others
}

// known are the logs of others that clients trust.
func (f *foreignCT) known() []trust.Log {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now.foreign
}

// current is what is in force.
func (f *foreignCT) current() askedCT {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// use puts another list in force, and returns the one before.
func (f *foreignCT) use(a askedCT) (before askedCT) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, f.now = f.now, a
	return before
}

// close gives up connections that nobody uses.
func (a askedCT) close() {
	for _, t := range a.transports {
		t.CloseIdleConnections()
	}
}

// names are those of the logs, in order.
func (a askedCT) names() (names []string) {
	for _, l := range a.logs {
		names = append(names, l.Name)
	}
	return names
}

// ctClients is what a configuration has of the logs that the CA asks.
func ctClients(conf *config.Config) []config.CTClient {
	if len(conf.CA.CTLogs) == 0 {
		return []config.CTClient{{Own: true}}
	}
	return conf.CA.CTLogs
}

// firstCTLogs are those that the CA submits to from the start on.
func (b *builder) firstCTLogs() ([]sct.Log, error) {
	asked, err := b.askCT(b.starting, b.services.ctlog.all())
	if err != nil {
		return nil, err
	}
	b.services.foreign.use(asked)
	b.onClose(func() error { b.services.foreign.current().close(); return nil })
	return asked.logs, nil
}

// askCT makes what the CA asks by a configuration, of which own are the logs of this
// process. Nothing is asked yet. A log that clients do not know yet is left out.
func (s *Stack) askCT(conf *config.Config, own []*ownCT) (out askedCT, err error) {
	for i, c := range ctClients(conf) {
		if err := s.addCT(&out, conf, c, own); err != nil {
			return out, fmt.Errorf("ca.ct_logs[%d]: %w", i, err)
		}
	}
	if len(out.logs) == 0 {
		return out, errors.New("every CT log is read-only or frozen: without one that takes certificates none is issued")
	}
	return out, nil
}

func (s *Stack) addCT(out *askedCT, conf *config.Config, c config.CTClient, own []*ownCT) error {
	if !c.Own {
		return s.addForeign(out, c)
	}
	if s.services.ctlog != nil {
		for _, shard := range conf.CTLog.Asked() {
			log := byPrefix(own, shard.Prefix)
			if log == nil || s.ctWaits(conf.URL+"/"+shard.Prefix) {
				continue
			}
			from, to := log.shard.Range()
			out.words = append(out.words, "own "+shard.Prefix)
			out.logs = append(out.logs, sct.Log{
				Name: shard.Prefix, Key: log.Trust().PublicKey, Submit: log.AddPreChain, NotAfterStart: from, NotAfterLimit: to,
			})
		}
		return nil
	}
	logs, err := s.linkedLogs()
	out.logs, out.words = append(out.logs, logs...), append(out.words, "linked")
	return err
}

// ctFrom is from when on the CA may ask a log; zero for one that is not known to be new.
func (s *Stack) ctFrom(url string) time.Time {
	list := s.ctRecords.all()
	i := slices.IndexFunc(list, func(r ctRecord) bool { return r.URL == url })
	if i < 0 {
		return time.Time{}
	}
	return list[i].Distributed
}

// ctWaits reports whether not every client knows a log.
func (s *Stack) ctWaits(url string) bool { return s.opts.Now().Before(s.ctFrom(url)) }

// linkedLogs are those of the process that has the CT logs. What clients know of a
// log does not say from when on it takes certificates; of those that end late
// enough for one, the first that ends is meant for it.
func (s *Stack) linkedLogs() ([]sct.Log, error) {
	logs, err := s.otherCTLogs()
	if err != nil {
		return nil, err
	}
	var out []sct.Log
	for _, l := range logs {
		submit, err := submitTo(s.linkTo("ctlog"), l, s.opts.Now)
		if err != nil {
			return nil, err
		}
		out = append(out, sct.Log{
			Name: strings.TrimPrefix(l.BaseURL, s.conf.URL+"/"), Key: l.PublicKey, Submit: submit, Again: true, NotAfterLimit: l.Window.End,
		})
	}
	return out, nil
}

// addForeign adds a log of others: to what clients know, and to what is asked.
func (s *Stack) addForeign(out *askedCT, c config.CTClient) error {
	spki, err := s.layout.publicKey(c.Key)
	if err != nil {
		return err
	}
	since, err := time.Parse(time.RFC3339, c.Since)
	if err != nil {
		return err
	}
	from, to := c.Range()
	out.foreign = append(out.foreign, trust.Log{
		BaseURL: c.URL, PublicKey: spki, APIVersion: 1, Window: trust.Window{Start: since, End: to}, Idle: true,
	})
	if c.Retired || s.ctWaits(c.URL) {
		out.words = append(out.words, "known "+c.URL)
		return nil
	}
	transport, files, err := s.layout.ctTransport(c)
	if err != nil {
		return err
	}
	submit, err := sct.Remote{URL: c.URL, Host: c.Host, Transport: transport, Now: s.opts.Now}.Submit()
	if err != nil {
		return err
	}
	out.transports = append(out.transports, transport)
	out.words = append(out.words, fmt.Sprintf("%+v %x", c, files))
	out.logs = append(out.logs, sct.Log{Name: c.URL, Key: spki, Submit: submit, Again: true, NotAfterStart: from, NotAfterLimit: to})
	return nil
}

// ctTransport reaches a log of others, past no proxy that the environment names. files
// is a digest of what it has read for that.
func (l Layout) ctTransport(c config.CTClient) (_ *http.Transport, files [sha256.Size]byte, err error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CACert != "" {
		certs, err := l.chain(c.CACert)
		if err != nil {
			return nil, files, fmt.Errorf("ca_cert: %w", err)
		}
		var all bytes.Buffer
		for _, cert := range certs {
			all.Write(cert.Raw)
		}
		files = sha256.Sum256(all.Bytes())
		conf.RootCAs = x509.NewCertPool()
		for _, cert := range certs {
			conf.RootCAs.AddCert(cert)
		}
	}
	return &http.Transport{
		TLSClientConfig: conf, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16,
		IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 2 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}, files, nil
}

// reportCTLog tells readiness of a log that the CA submits to. Those of this
// process, and the process that has them, tell of themselves.
func (s *Stack) reportCTLog(name string, err error) {
	if !slices.ContainsFunc(s.services.foreign.known(), func(l trust.Log) bool { return l.BaseURL == name }) {
		return
	}
	status, detail := httpd.OK, "CT log "+name+" gives timestamps"
	if err != nil {
		status, detail = httpd.Warn, "CT log "+name+" gives no timestamps: "+fault.Public(err)
	}
	s.ready.SetPart("ca", "CT log "+name, status, detail)
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
