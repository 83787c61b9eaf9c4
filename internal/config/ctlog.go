package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// States of a CT log.
const (
	CTReadOnly = "readonly"
	CTFrozen   = "frozen"
)

// Bounds and defaults of CT logs.
const (
	defaultMergeDelay = 24 * time.Hour
	leastMergeDelay   = time.Minute
	mostMergeDelay    = 30 * 24 * time.Hour
	mostCTEntries     = 1000
)

// CTShard is one CT log: a tree, a key, a prefix.
type CTShard struct {
	// Key is the name of the log's key in keys/.
	Key string `yaml:"key"`
	// TreeID of the log's tree, made at init, or by sigstack ctlog prepare. A missing
	// tree is never remade.
	TreeID int64 `yaml:"tree_id"`
	// Prefix is the log's first path element. Default of the first log: ctlog.
	Prefix string `yaml:"prefix"`
	// State: "readonly" takes no more certificates; "frozen" has its last tree head
	// signed besides, for ever. Default: it takes certificates.
	State string `yaml:"state,omitempty"`
	// NotAfterStart and NotAfterLimit (RFC 3339): the log takes certificates that end
	// at the first or later, and before the second. Default, each: no bound. The
	// second is when clients stop trusting new timestamps, so it never changes.
	NotAfterStart string `yaml:"not_after_start,omitempty"`
	NotAfterLimit string `yaml:"not_after_limit,omitempty"`
}

// CTLog configures the certificate transparency log.
type CTLog struct {
	// The first log.
	CTShard `yaml:",inline"`
	// Shards are further logs: for the certificates of a time, or in place of a log
	// before them.
	Shards []CTShard `yaml:"shards,omitempty"`
	// First is the prefix of the log that the CA asks before the others, for every
	// certificate that it takes. Default: where ranges overlap, the log whose range
	// begins last; of those that begin at the same time, the one that is listed first.
	First string `yaml:"first,omitempty"`
	// Roots are PEM files of authorities whose certificates are logged besides this
	// CA's; a relative path is below the data directory. Default: none.
	Roots []string `yaml:"roots,omitempty"`
	// MergeDelay is the maximum merge delay that is promised, such as "24h", a minute
	// to 30 days: no tree head is older. Entries wait for nothing. Default: 24h.
	MergeDelay string `yaml:"merge_delay,omitempty"`
	// MaxEntries is how many entries are answered at once, 1 to 1000. Default: 256.
	MaxEntries int `yaml:"max_entries,omitempty"`
}

// CTClient is a CT log that the CA submits to.
type CTClient struct {
	// Own stands for the logs of this stack, which are asked at this place. The other
	// settings are for logs of others.
	Own bool `yaml:"own,omitempty"`
	// Retired: the log is asked no more, while clients go on trusting what it has given.
	Retired bool `yaml:"retired,omitempty"`
	// URL of the log, without /ct/v1.
	URL string `yaml:"url,omitempty"`
	// Key is a PEM file with the log's public key; a relative path is below the data
	// directory. Every timestamp is verified with it, and clients are told to.
	Key string `yaml:"key,omitempty"`
	// Since (RFC 3339) is when clients begin to trust the log.
	Since string `yaml:"since,omitempty"`
	// Host is sent in place of the URL's. Default: that.
	Host string `yaml:"host,omitempty"`
	// CACert is a PEM file of authorities that are trusted, in place of the system's,
	// for the log's TLS.
	CACert string `yaml:"ca_cert,omitempty"`
	// NotAfterStart and NotAfterLimit (RFC 3339) are the log's range of certificates.
	// Default, each: no bound.
	NotAfterStart string `yaml:"not_after_start,omitempty"`
	NotAfterLimit string `yaml:"not_after_limit,omitempty"`
}

// Logs returns all logs, the first one first.
func (l *CTLog) Logs() []CTShard {
	return append([]CTShard{l.CTShard}, l.Shards...)
}

// Asked returns the logs that take certificates, in the order in which the CA asks
// them.
func (l *CTLog) Asked() []CTShard {
	out := slices.DeleteFunc(l.Logs(), func(s CTShard) bool { return s.State != "" })
	slices.SortStableFunc(out, func(a, b CTShard) int {
		if (a.Prefix == l.First) != (b.Prefix == l.First) {
			if a.Prefix == l.First {
				return -1
			}
			return 1
		}
		from, _ := a.Range()
		other, _ := b.Range()
		return other.Compare(from)
	})
	return out
}

// MaxDelay returns MergeDelay or its default.
func (l *CTLog) MaxDelay() time.Duration {
	if d, err := time.ParseDuration(l.MergeDelay); err == nil {
		return d
	}
	return defaultMergeDelay
}

// Range returns NotAfterStart and NotAfterLimit, zero where there is no bound.
func (s CTShard) Range() (from, to time.Time) { return timesOf(s.NotAfterStart, s.NotAfterLimit) }

// Range returns NotAfterStart and NotAfterLimit, zero where there is no bound.
func (c CTClient) Range() (from, to time.Time) { return timesOf(c.NotAfterStart, c.NotAfterLimit) }

// timesOf reads a range that was validated.
func timesOf(from, to string) (start, end time.Time) {
	start, _ = time.Parse(time.RFC3339, from)
	end, _ = time.Parse(time.RFC3339, to)
	return start, end
}

// shardField names the nth of Logs.
func shardField(n int) string {
	if n == 0 {
		return "ctlog"
	}
	return fmt.Sprintf("ctlog.shards[%d]", n-1)
}

func (l *CTLog) validate(p *problems) {
	keys, trees, prefixes := map[string]bool{}, map[int64]bool{}, map[string]bool{}
	for i, s := range l.Logs() {
		field := shardField(i)
		s.validate(p, field)
		p.check(!keys[s.Key] || s.Key == "", "%s.key: %s is another log's: a key is a log's identity", field, s.Key)
		p.check(!trees[s.TreeID] || s.TreeID == 0, "%s.tree_id: %d is another log's", field, s.TreeID)
		p.check(!prefixes[s.Prefix] || s.Prefix == "", "%s.prefix: %q is another log's", field, s.Prefix)
		keys[s.Key], trees[s.TreeID], prefixes[s.Prefix] = true, true, true
	}
	l.validateFirst(p)
	for i, path := range l.Roots {
		field := fmt.Sprintf("ctlog.roots[%d]", i)
		p.check(path != "", "%s: missing", field)
		p.path(field, path)
		p.check(!slices.Contains(l.Roots[:i], path), "%s: %s is listed twice", field, path)
	}
	d, err := time.ParseDuration(l.MergeDelay)
	p.check(l.MergeDelay == "" || err == nil && d >= leastMergeDelay && d <= mostMergeDelay && d%time.Second == 0,
		"ctlog.merge_delay: %q, want whole seconds from %v to %v, such as 24h", l.MergeDelay, leastMergeDelay, mostMergeDelay)
	p.check(l.MaxEntries >= 0 && l.MaxEntries <= mostCTEntries, "ctlog.max_entries: %d, want 1 to %d", l.MaxEntries, mostCTEntries)
}

// validateFirst checks which log is asked first.
func (l *CTLog) validateFirst(p *problems) {
	if l.First == "" {
		return
	}
	i := slices.IndexFunc(l.Logs(), func(s CTShard) bool { return s.Prefix == l.First })
	if i < 0 {
		p.check(false, "ctlog.first: no log has the prefix %q", l.First)
		return
	}
	state := l.Logs()[i].State
	p.check(state != CTReadOnly && state != CTFrozen, "ctlog.first: log %s is %s, and takes no certificates: name another one, or none", l.First, state)
}

// reserved are first path elements that others have.
var reserved = []string{"api", "client", "dev", "dex", "healthz", "ping", "readyz", "tuf"}

func (s CTShard) validate(p *problems, field string) {
	p.key(field+".key", s.Key)
	p.check(s.TreeID > 0, "%s.tree_id: %d is not a tree id", field, s.TreeID)
	p.check(validName.MatchString(s.Prefix) && !slices.Contains(reserved, s.Prefix), "%s.prefix: %q is not one path element, or another service's", field, s.Prefix)
	p.check(slices.Contains([]string{"", CTReadOnly, CTFrozen}, s.State), "%s.state: %q, want %s or %s, or leave it out", field, s.State, CTReadOnly, CTFrozen)
	p.timeRange(field, s.NotAfterStart, s.NotAfterLimit)
}

// timeRange checks two times of RFC 3339, each of which may be missing.
func (p *problems) timeRange(field, from, to string) {
	for _, x := range []struct{ name, value string }{{"not_after_start", from}, {"not_after_limit", to}} {
		_, err := time.Parse(time.RFC3339, x.value)
		p.check(x.value == "" || err == nil, "%s.%s: %q is not a time such as 2027-01-01T00:00:00Z", field, x.name, x.value)
	}
	start, end := timesOf(from, to)
	p.check(start.IsZero() || end.IsZero() || start.Before(end), "%s.not_after_limit: nothing ends from %s on and before %s", field, from, to)
}

func (c CTClient) validate(p *problems, field, profile string) {
	if c.Own {
		p.check(c == CTClient{Own: true}, "%s: own says all, leave the rest out", field)
		return
	}
	u, err := url.Parse(c.URL)
	p.check(err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") && u.RawQuery == "" && u.User == nil && u.Fragment == "",
		"%s.url: %q is not the http or https URL of a log; say own: true for this stack's", field, c.URL)
	p.check(!strings.HasSuffix(c.URL, "/"), "%s.url: %q: want no slash at the end", field, c.URL)
	p.check(!strings.Contains(c.URL+"/", "/ct/v1/"), "%s.url: %q: want what is before /ct/v1, which is added", field, c.URL)
	p.check(profile == ProfileUp || !strings.HasPrefix(c.URL, "http://") || local(c.URL),
		"%s.url: %q is plain http: whoever is on the way reads who signs, and can prevent it; only profile up may have it", field, c.URL)
	p.check(c.Key != "", "%s.key: missing: without it any answer would pass for a timestamp", field)
	p.path(field+".key", c.Key)
	p.path(field+".ca_cert", c.CACert)
	since, err := time.Parse(time.RFC3339, c.Since)
	p.check(err == nil, "%s.since: %q is not a time such as 2026-01-31T12:00:00Z", field, c.Since)
	p.timeRange(field, c.NotAfterStart, c.NotAfterLimit)
	_, end := c.Range()
	p.check(err != nil || end.IsZero() || since.Before(end), "%s.not_after_limit: %s is not after since, so clients would never trust the log", field, c.NotAfterLimit)
}

// validateCTLogs checks which logs the CA submits to. own says whether the stack
// has one.
func (ca *CA) validateCTLogs(p *problems, own bool, profile string) {
	p.check(ca.CTLogs == nil || len(ca.CTLogs) > 0, "ca.ct_logs: names none: leave it out for this stack's own log")
	p.check(len(ca.CTLogs) == 0 || slices.ContainsFunc(ca.CTLogs, CTClient.asked),
		"ca.ct_logs: every log is retired, so no certificate would be issued: add own: true, or another log")
	seen := map[string]bool{}
	for i, c := range ca.CTLogs {
		field := fmt.Sprintf("ca.ct_logs[%d]", i)
		c.validate(p, field, profile)
		p.check(!c.Own || own, "%s.own: this stack has no ctlog section, nor a peer with it", field)
		p.check(!seen[c.URL], "%s: listed twice", field)
		seen[c.URL] = true
	}
}

func (c CTClient) asked() bool { return !c.Retired }

// validateCTStates demands that a log takes the certificates of a CA in the same
// process: one that has none issues none.
func (c *Config) validateCTStates(p *problems) {
	if c.CA == nil || c.CTLog == nil {
		return
	}
	open := func(l CTShard) bool { return l.State != CTReadOnly && l.State != CTFrozen }
	others := func(l CTClient) bool { return !l.Own && l.asked() }
	p.check(slices.ContainsFunc(c.CTLog.Logs(), open) || slices.ContainsFunc(c.CA.CTLogs, others),
		"ctlog.state: no CT log would take certificates any more, and without one none is issued: add another one first, by `sigstack ctlog prepare` or in ca.ct_logs")
}
