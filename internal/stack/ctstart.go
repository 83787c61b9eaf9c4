package stack

import (
	"log/slog"
	"slices"
	"time"

	"sigstack/internal/config"
	"sigstack/services/ca/identity"
)

// startCT is what a stack starts with of config.yaml: while a log is not known to every
// client it is not asked, and where nothing else would take certificates the log that
// was closed for it goes on until then.
func (s *Stack) startCT() *config.Config {
	waiting, until := s.waitingCT(s.conf)
	if len(waiting) == 0 {
		return s.conf
	}
	s.reloads.until = soonest(s.reloads.until, until)
	s.opts.Log.Warn("CT logs of config.yaml are not used before every client knows them",
		slog.Any("ct_logs", waiting), slog.Time("until", until))
	ends := s.opts.Now().Add(identity.MaxLifetime)
	takes := func(from, to time.Time) bool { return !ends.Before(from) && (to.IsZero() || ends.Before(to)) }
	c := *s.conf
	if c.CA == nil || s.asksNow(&c, takes) {
		return s.conf
	}
	if c.CTLog != nil {
		own := *c.CTLog
		own.Shards = slices.Clone(own.Shards)
		if s.reopen(&own, takes) {
			c.CTLog = &own
			return &c
		}
	}
	ca := *c.CA
	ca.CTLogs = slices.Clone(ca.CTLogs)
	for i, l := range slices.Backward(ca.CTLogs) {
		if l.Retired && takes(l.Range()) {
			ca.CTLogs[i].Retired = false
			break
		}
	}
	c.CA = &ca
	return &c
}

// asksNow reports whether a configuration has a log that takes certificates of now,
// and that every client knows. takes holds its range against them.
func (s *Stack) asksNow(conf *config.Config, takes func(from, to time.Time) bool) bool {
	for _, c := range ctClients(conf) {
		switch {
		case !c.Own:
			if !c.Retired && !s.ctWaits(c.URL) && takes(c.Range()) {
				return true
			}
		case conf.CTLog == nil:
			return true // another process has them
		case slices.ContainsFunc(conf.CTLog.Asked(), func(l config.CTShard) bool {
			return !s.ctWaits(conf.URL+"/"+l.Prefix) && takes(l.Range())
		}):
			return true
		}
	}
	return false
}

// reopen lets the last log go on that is closed and not frozen yet.
func (s *Stack) reopen(conf *config.CTLog, takes func(from, to time.Time) bool) bool {
	for i, l := range slices.Backward(conf.Logs()) {
		final, err := exists(s.layout.FinalHead(ctTree(conf, l)))
		if l.State == "" || final || err != nil || !takes(l.Range()) {
			continue
		}
		if i == 0 {
			conf.State = ""
		} else {
			conf.Shards[i-1].State = ""
		}
		return true
	}
	return false
}

// waitingCT are the logs of a configuration that not every client knows yet, and when
// the last of them does.
func (s *Stack) waitingCT(conf *config.Config) (urls []string, until time.Time) {
	add := func(url string) {
		if !s.ctWaits(url) {
			return
		}
		urls = append(urls, url)
		if from := s.ctFrom(url); from.After(until) {
			until = from
		}
	}
	if conf.CTLog != nil {
		for _, shard := range conf.CTLog.Logs() {
			add(conf.URL + "/" + shard.Prefix)
		}
	}
	if conf.CA != nil {
		for _, c := range conf.CA.CTLogs {
			if !c.Own {
				add(c.URL)
			}
		}
	}
	return urls, until
}
