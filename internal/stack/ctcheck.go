package stack

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/trust"
	"sigstack/services/ca/identity"
	tufroot "sigstack/tuf-root"
)

// What clients know of a CT log never changes and never goes, and a log that they
// do not know yet is published before anything is served. A configuration that has
// it otherwise is refused, and told in its own words.

// ctEntry is a CT log as the configuration has it.
type ctEntry struct {
	field, url string
	key        []byte    // SPKI; nil: not known without a passphrase
	start, end time.Time // what clients are told; start is zero for one of this stack
	own        bool
	shard      config.CTShard // of one of this stack
}

// publishedCT looks for differences from what is published.
func (c *fileCheck) publishedCT() {
	known, ok, err := c.publishedCTLogs(c.conf, c.now)
	if err != nil {
		c.add(publisher(c.conf), "CT logs cannot be held against the published ones: %v", err)
	}
	if err != nil || !ok {
		return
	}
	c.list = append(c.list, c.ctProblems(c.conf, known, func(name string) []byte {
		spki, err := x509.MarshalPKIXPublicKey(c.public[name])
		if err != nil {
			return nil // it is encrypted
		}
		return spki
	})...)
}

// laterCT warns of logs that are not used yet, and refuses what a frozen log cannot be.
func (c *fileCheck) laterCT() {
	records, err := c.readCTLogs()
	if err != nil {
		return // it is told elsewhere
	}
	from := map[string]time.Time{}
	for _, r := range records {
		from[r.URL] = r.Distributed
	}
	for _, e := range c.ctEntries(c.conf, func(string) []byte { return nil }) {
		if at := from[e.url]; c.now.Before(at) {
			c.list = append(c.list, config.Problem{Warning: true, Field: e.field, Message: fmt.Sprintf(
				"not every client knows the CT log %s before %s: until then this process goes on with the CT logs that it has", e.url, at.Format(time.RFC3339))})
		}
		if !e.own || e.shard.State == config.CTFrozen {
			continue
		}
		if frozen, err := exists(c.FinalHead(ctTree(c.conf.CTLog, e.shard))); frozen && err == nil {
			c.add(e.field+".state", "the CT log %s was frozen, and stays so: its last tree head is signed, and clients hold it to that. Say state: frozen", e.url)
		}
	}
}

// takersCT warns when no log takes a certificate of now. It is none of the problems:
// the time alone can bring it about, and nothing else shall be refused for that.
func (c *fileCheck) takersCT() {
	ca, own := c.conf.CA, c.conf.CTLog
	if ca == nil {
		return
	}
	ends := c.now.Add(identity.MaxLifetime)
	within := func(from, to time.Time) bool { return !ends.Before(from) && (to.IsZero() || ends.Before(to)) }
	takes := func(l config.CTShard) bool { return l.State == "" && within(l.Range()) }
	asksOwn := len(ca.CTLogs) == 0 || slices.ContainsFunc(ca.CTLogs, func(l config.CTClient) bool { return l.Own })
	if asksOwn && (own == nil || slices.ContainsFunc(own.Logs(), takes)) {
		return // that of another process tells by itself
	}
	field := "ctlog"
	if own == nil {
		field = "ca.ct_logs"
	}
	if !slices.ContainsFunc(ca.CTLogs, func(l config.CTClient) bool { return !l.Own && !l.Retired && within(l.Range()) }) {
		c.list = append(c.list, config.Problem{Warning: true, Field: field, Message: fmt.Sprintf(
			"no CT log takes certificates that end at %s, so none is issued now", ends.UTC().Format(time.RFC3339))})
	}
}

// publisher is the section that says what is published.
func publisher(conf *config.Config) string {
	if conf.Peers != nil {
		return "peers"
	}
	return "tuf"
}

// publishedCTLogs are the CT logs of this process that clients know. The front of a
// split stack, which has none of its own to compare, and a process that publishes
// nothing have no such list.
func (l Layout) publishedCTLogs(conf *config.Config, now time.Time) (logs []trust.KnownLog, ok bool, err error) {
	switch {
	case conf.Behind():
		logs, err = l.partCTLogs(conf.Peers.Name)
		return logs, err == nil, err
	case conf.Peers != nil || conf.TUF == nil:
		return nil, false, nil
	}
	repo, err := tufroot.Open(l.repository(conf, func() time.Time { return now }))
	if err != nil {
		return nil, false, err
	}
	data, err := repo.Target(trust.TrustedRootName)
	if err != nil {
		return nil, false, err
	}
	root, err := trust.ParseTrustedRoot(data)
	return root.CTLogs, err == nil, err
}

// partCTLogs are those of the published half of a process.
func (l Layout) partCTLogs(process string) ([]trust.KnownLog, error) {
	data, err := os.ReadFile(l.Peer(process))
	if err != nil {
		return nil, fmt.Errorf("read public half of process %s: %w", process, err)
	}
	part, err := trust.ParsePart(data)
	if err != nil {
		return nil, fmt.Errorf("read public half of process %s: %w", process, err)
	}
	var out []trust.KnownLog
	for _, log := range part.CTLogs {
		out = append(out, trust.KnownLog{BaseURL: log.BaseURL, PublicKey: log.PublicKey, Window: log.Window})
	}
	return out, nil
}

// ctEntries are all CT logs of a configuration; keyOf finds the key of that name,
// or nil. A file that cannot be read is told elsewhere.
func (l Layout) ctEntries(conf *config.Config, keyOf func(string) []byte) []ctEntry {
	var out []ctEntry
	if conf.CTLog != nil {
		for i, shard := range conf.CTLog.Logs() {
			e := ctEntry{field: "ctlog", url: conf.URL + "/" + shard.Prefix, key: keyOf(shard.Key), own: true, shard: shard}
			if i > 0 {
				e.field = fmt.Sprintf("ctlog.shards[%d]", i-1)
			}
			_, e.end = shard.Range()
			out = append(out, e)
		}
	}
	if conf.CA == nil {
		return out
	}
	for i, c := range conf.CA.CTLogs {
		if c.Own {
			continue
		}
		e := ctEntry{field: fmt.Sprintf("ca.ct_logs[%d]", i), url: c.URL}
		if key, err := l.publicKey(c.Key); err == nil {
			e.key = key
		}
		if since, err := time.Parse(time.RFC3339, c.Since); err == nil {
			e.start = since
		}
		_, e.end = c.Range()
		out = append(out, e)
	}
	return out
}

// ctProblems says how the CT logs of a configuration differ from those that clients
// know, and what to do about it.
func (l Layout) ctProblems(conf *config.Config, known []trust.KnownLog, keyOf func(string) []byte) []config.Problem {
	unknown, out := l.ctDifferences(conf, known, keyOf)
	for _, e := range unknown {
		out = append(out, config.Problem{Field: e.field, Message: l.notKnown(conf, e)})
	}
	return out
}

// ctDifferences are those of ctProblems, but for the logs that clients do not know yet.
func (l Layout) ctDifferences(conf *config.Config, known []trust.KnownLog, keyOf func(string) []byte) (unknown []ctEntry, out []config.Problem) {
	records, err := l.readCTLogs()
	if err != nil {
		out = append(out, config.Problem{Field: "ctlog", Message: err.Error()})
	}
	found := map[string]bool{} // by key
	for _, r := range records {
		found[string(r.Key)] = r.Used.IsZero() // what it is lies in the record
	}
	for _, e := range l.ctEntries(conf, keyOf) {
		k, ok := e.among(known)
		if !ok {
			unknown = append(unknown, e)
			continue
		}
		found[string(k.PublicKey)] = true
		if l.endedCT(k) {
			k.Window.End = e.end // for the compromise alone it is another one
		}
		out = append(out, e.changes(k)...)
	}
	for _, k := range known {
		if !found[string(k.PublicKey)] {
			out = append(out, gone(conf, k))
		}
	}
	return unknown, out
}

// among finds the log by its key or, where that leads nowhere, by its URL.
func (e ctEntry) among(known []trust.KnownLog) (trust.KnownLog, bool) {
	i := slices.IndexFunc(known, func(k trust.KnownLog) bool { return bytes.Equal(k.PublicKey, e.key) })
	if i < 0 {
		i = slices.IndexFunc(known, func(k trust.KnownLog) bool { return k.BaseURL == e.url })
	}
	if i < 0 {
		return trust.KnownLog{}, false
	}
	return known[i], true
}

// changes says what of a published log is not as it was.
func (e ctEntry) changes(k trust.KnownLog) (out []config.Problem) {
	add := func(name, format string, args ...any) {
		out = append(out, config.Problem{Field: e.field + "." + name, Message: fmt.Sprintf(format, args...) + ", and that never changes: put it back"})
	}
	if e.key != nil && !bytes.Equal(e.key, k.PublicKey) {
		add("key", "clients know the CT log %s by another key", k.BaseURL)
	}
	if e.url != k.BaseURL {
		name := "url"
		if e.own {
			name = "prefix"
		}
		add(name, "clients know the CT log by the URL %s", k.BaseURL)
	}
	if !e.own && !sameSecond(e.start, k.Window.Start) {
		add("since", "clients were told to trust the CT log from %s on", k.Window.Start.UTC().Format(time.RFC3339))
	}
	if !sameSecond(e.end, k.Window.End) {
		add("not_after_limit", "clients were told to trust the CT log %s", untilText(k.Window.End))
	}
	return out
}

// sameSecond: clients are told whole seconds.
func sameSecond(a, b time.Time) bool {
	if a.IsZero() || b.IsZero() {
		return a.IsZero() == b.IsZero()
	}
	return a.Sub(b).Abs() < time.Second
}

func untilText(end time.Time) string {
	if end.IsZero() {
		return "for ever"
	}
	return "until " + end.UTC().Format(time.RFC3339)
}

// notKnown says what to do with a log that is not published.
func (l Layout) notKnown(conf *config.Config, e ctEntry) string {
	if conf.Peers != nil {
		return fmt.Sprintf("clients do not know the CT log %s, and a stack that is split keeps the logs it has: take it out", e.url)
	}
	return fmt.Sprintf("clients do not know the CT log %s yet: run `sigstack ctlog publish --dir %s`; neither a reload nor a start takes it before", e.url, l.Dir)
}

// gone says what to do about a published log that the configuration lacks.
func gone(conf *config.Config, k trust.KnownLog) config.Problem {
	field, section, setting := "ca.ct_logs", conf.CA != nil, "retired: true"
	if strings.HasPrefix(k.BaseURL, conf.URL+"/") {
		field, section, setting = "ctlog.shards", conf.CTLog != nil, "state: frozen"
	}
	if !section {
		field, _, _ = strings.Cut(field, ".")
	}
	return config.Problem{Field: field, Message: fmt.Sprintf(
		"the published CT log %s is missing, and what it has logged would not verify any more: leave its entry in, with %s if it is to take no more certificates", k.BaseURL, setting)}
}

// refuseCT returns the error for CT logs that are not the published ones, nil if
// they are.
func (s *Stack) refuseCT(known []trust.KnownLog) error {
	problems := s.layout.ctProblems(s.conf, known, func(name string) []byte {
		for _, key := range s.services.allKeys() {
			if key.Name == name {
				return key.SPKI()
			}
		}
		return nil
	})
	if len(problems) == 0 {
		return nil
	}
	return &config.Invalid{File: s.layout.Config(), Problems: problems}
}
