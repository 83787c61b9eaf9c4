package config

import (
	"strings"
	"testing"
	"time"
)

func TestCTLogDefaults(t *testing.T) {
	l := CTLog{CTShard: CTShard{Key: "ctlog", TreeID: 1, Prefix: "ctlog"}}
	if got := l.MaxDelay(); got != 24*time.Hour {
		t.Errorf("merge delay %v, want 24h", got)
	}
	if got := l.Logs(); len(got) != 1 || got[0] != l.CTShard {
		t.Errorf("logs %+v, want the one", got)
	}
	if from, to := l.Range(); !from.IsZero() || !to.IsZero() {
		t.Errorf("range %v to %v, want none", from, to)
	}
	var p problems
	if l.validate(&p); p.join() != nil {
		t.Errorf("what init writes is refused: %v", p.join())
	}
}

// TestCTLogProblems: each mistake is told with its place, and all of them at once.
func TestCTLogProblems(t *testing.T) {
	good := func() *CTLog {
		return &CTLog{
			CTShard: CTShard{Key: "a", TreeID: 1, Prefix: "ctlog", NotAfterLimit: "2027-01-01T00:00:00Z"},
			Shards:  []CTShard{{Key: "b", TreeID: 2, Prefix: "ct2027", State: CTReadOnly, NotAfterStart: "2027-01-01T00:00:00Z"}},
			Roots:   []string{"a.pem"}, MergeDelay: "1h", MaxEntries: 1000,
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*CTLog)
		want   []string
	}{
		{"nothing", func(*CTLog) {}, nil},
		{"same key", func(l *CTLog) { l.Shards[0].Key = "a" }, []string{"ctlog.shards[0].key"}},
		{"same tree", func(l *CTLog) { l.Shards[0].TreeID = 1 }, []string{"ctlog.shards[0].tree_id"}},
		{"same prefix", func(l *CTLog) { l.Shards[0].Prefix = "ctlog" }, []string{"ctlog.shards[0].prefix"}},
		{"another service's prefix", func(l *CTLog) { l.Shards[0].Prefix = "dex" }, []string{"ctlog.shards[0].prefix"}},
		{"prefix of two", func(l *CTLog) { l.Prefix = "a/b" }, []string{"ctlog.prefix"}},
		{"state", func(l *CTLog) { l.State = "closed" }, []string{"ctlog.state"}},
		{"no time", func(l *CTLog) { l.NotAfterStart = "2027" }, []string{"ctlog.not_after_start"}},
		{"no range", func(l *CTLog) { l.Shards[0].NotAfterLimit = "2027-01-01T00:00:00Z" }, []string{"ctlog.shards[0].not_after_limit"}},
		{"first", func(l *CTLog) { l.First = "ctlog" }, nil},
		{"first of none", func(l *CTLog) { l.First = "ct9" }, []string{"ctlog.first"}},
		{"first is closed", func(l *CTLog) { l.First = l.Shards[0].Prefix }, []string{"ctlog.first"}},
		{"root twice", func(l *CTLog) { l.Roots = []string{"a.pem", "a.pem"} }, []string{"ctlog.roots[1]"}},
		{"root without a name", func(l *CTLog) { l.Roots = []string{""} }, []string{"ctlog.roots[0]"}},
		{"delay too short", func(l *CTLog) { l.MergeDelay = "1s" }, []string{"ctlog.merge_delay"}},
		{"delay of a part", func(l *CTLog) { l.MergeDelay = "90.5s" }, []string{"ctlog.merge_delay"}},
		{"too many entries", func(l *CTLog) { l.MaxEntries = 1001 }, []string{"ctlog.max_entries"}},
		{"all at once", func(l *CTLog) {
			*l = CTLog{Shards: []CTShard{{}}, MergeDelay: "x", MaxEntries: -1}
		}, []string{
			"ctlog.key", "ctlog.tree_id", "ctlog.prefix", "ctlog.shards[0].key", "ctlog.shards[0].tree_id", "ctlog.shards[0].prefix",
			"ctlog.merge_delay", "ctlog.max_entries",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := good()
			tt.change(l)
			var p problems
			l.validate(&p)
			wantFields(t, p, tt.want)
		})
	}
}

// wantFields demands problems of these fields, each once, and no others.
func wantFields(t *testing.T, p problems, fields []string) {
	t.Helper()
	var got []string
	for _, x := range p.list {
		got = append(got, x.Field)
	}
	if strings.Join(got, " ") != strings.Join(fields, " ") {
		t.Errorf("problems %v, want those of %v", p.list, fields)
	}
}

func TestCTClientProblems(t *testing.T) {
	good := CTClient{URL: "https://ct.example.com/log", Key: "ct.pub", Since: "2026-01-01T00:00:00Z"}
	with := func(change func(*CTClient)) CTClient {
		c := good
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name string
		logs []CTClient
		own  bool
		want []string
	}{
		{"none", nil, true, nil},
		{"both", []CTClient{good, {Own: true}}, true, nil},
		{"own, which is not there", []CTClient{{Own: true}}, false, []string{"ca.ct_logs[0].own"}},
		{"own, and more", []CTClient{{Own: true, Host: "x"}}, true, []string{"ca.ct_logs[0]"}},
		{"twice", []CTClient{good, good}, true, []string{"ca.ct_logs[1]"}},
		{"no URL", []CTClient{with(func(c *CTClient) { c.URL = "ct.example.com" })}, true, []string{"ca.ct_logs[0].url"}},
		{"password in the URL", []CTClient{with(func(c *CTClient) { c.URL = "https://u:p@ct.example.com" })}, true, []string{"ca.ct_logs[0].url"}},
		{"final slash", []CTClient{with(func(c *CTClient) { c.URL += "/" })}, true, []string{"ca.ct_logs[0].url"}},
		{"no key", []CTClient{with(func(c *CTClient) { c.Key = "" })}, true, []string{"ca.ct_logs[0].key"}},
		{"no since", []CTClient{with(func(c *CTClient) { c.Since = "" })}, true, []string{"ca.ct_logs[0].since"}},
		{"with the endpoint", []CTClient{with(func(c *CTClient) { c.URL += "/ct/v1/add-pre-chain" })}, true, []string{"ca.ct_logs[0].url"}},
		{"with /ct/v1", []CTClient{with(func(c *CTClient) { c.URL += "/ct/v1" })}, true, []string{"ca.ct_logs[0].url"}},
		{"plain http", []CTClient{with(func(c *CTClient) { c.URL = "http://ct.example.com" })}, true, []string{"ca.ct_logs[0].url"}},
		{"plain http on this machine", []CTClient{with(func(c *CTClient) { c.URL = "http://127.0.0.1:6962/log" })}, true, nil},
		{"over before it begins", []CTClient{with(func(c *CTClient) { c.NotAfterLimit = "2025-01-01T00:00:00Z" })}, true, []string{"ca.ct_logs[0].not_after_limit"}},
		{"over as it begins", []CTClient{with(func(c *CTClient) { c.NotAfterLimit = c.Since })}, true, []string{"ca.ct_logs[0].not_after_limit"}},
		{"one retired", []CTClient{with(func(c *CTClient) { c.Retired = true }), {Own: true}}, true, nil},
		{"all retired", []CTClient{with(func(c *CTClient) { c.Retired = true })}, true, []string{"ca.ct_logs"}},
		{"own retired", []CTClient{good, {Own: true, Retired: true}}, true, []string{"ca.ct_logs[1]"}},
		{"empty list", []CTClient{}, true, []string{"ca.ct_logs"}},
		{"all at once", []CTClient{{NotAfterStart: "x"}}, true, []string{
			"ca.ct_logs[0].url", "ca.ct_logs[0].key", "ca.ct_logs[0].since", "ca.ct_logs[0].not_after_start",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p problems
			(&CA{CTLogs: tt.logs}).validateCTLogs(&p, tt.own, ProfileServe)
			wantFields(t, p, tt.want)
		})
	}
}

// TestCTStates: a CA keeps a log that takes its certificates.
func TestCTStates(t *testing.T) {
	other := CTClient{URL: "https://ct.example.com/log", Key: "ct.pub", Since: "2026-01-01T00:00:00Z"}
	retired := other
	retired.Retired = true
	for _, tt := range []struct {
		name   string
		states []string // of the own logs
		asked  []CTClient
		want   []string
	}{
		{"open", []string{""}, nil, nil},
		{"read-only", []string{CTReadOnly}, nil, []string{"ctlog.state"}},
		{"frozen", []string{CTFrozen}, []CTClient{{Own: true}}, []string{"ctlog.state"}},
		{"another takes over", []string{CTFrozen, ""}, nil, nil},
		{"both are frozen", []string{CTFrozen, CTReadOnly}, nil, []string{"ctlog.state"}},
		{"one of others takes over", []string{CTFrozen}, []CTClient{other, {Own: true}}, nil},
		{"one of others is retired", []string{CTFrozen}, []CTClient{retired, {Own: true}}, []string{"ctlog.state"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &Config{CA: &CA{CTLogs: tt.asked}, CTLog: &CTLog{CTShard: CTShard{State: tt.states[0]}}}
			for _, state := range tt.states[1:] {
				c.CTLog.Shards = append(c.CTLog.Shards, CTShard{State: state})
			}
			var p problems
			c.validateCTStates(&p)
			wantFields(t, p, tt.want)
		})
	}
}

// TestCTLogAsked: which log comes before which.
func TestCTLogAsked(t *testing.T) {
	shard := func(prefix, from, state string) CTShard {
		return CTShard{Prefix: prefix, NotAfterStart: from, State: state}
	}
	l := &CTLog{CTShard: shard("ctlog", "", ""), Shards: []CTShard{
		shard("ct2", "", ""), shard("ct2027", "2027-01-01T00:00:00Z", ""), shard("ct2028", "2028-01-01T00:00:00Z", ""),
		shard("old", "2029-01-01T00:00:00Z", CTFrozen), shard("closed", "", CTReadOnly),
	}}
	for first, want := range map[string]string{
		"":      "ct2028 ct2027 ctlog ct2",
		"ct2":   "ct2 ct2028 ct2027 ctlog",
		"ctlog": "ctlog ct2028 ct2027 ct2",
	} {
		l.First = first
		var got []string
		for _, s := range l.Asked() {
			got = append(got, s.Prefix)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("first %q: %v, want %s", first, got, want)
		}
	}
}
