package config

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
)

// Warnings returns what can be meant but mostly is not, and what an operator
// should have decided for.
func (c *Config) Warnings() []Problem {
	var w problems
	c.warnAddress(&w)
	c.warnKeys(&w)
	c.warnIssuers(&w)
	c.warnTUF(&w)
	if c.OIDC != nil && c.Profile != ProfileUp {
		w.list = append(w.list, c.OIDC.costWarnings()...)
	}
	for i := range w.list {
		w.list[i].Warning = true
	}
	return w.list
}

// warnAddress compares what clients are told with what is listened on.
func (c *Config) warnAddress(w *problems) {
	u, err := url.Parse(c.URL)
	if err != nil || CheckURL(c.URL) != nil || CheckAddress(c.Listen) != nil {
		return // a problem of its own
	}
	local := isLoopbackHost(u.Hostname())
	_, port, _ := net.SplitHostPort(c.Listen) // CheckAddress has done it
	if want := cmp.Or(u.Port(), defaultPort(u.Scheme)); local && port != want && port != "0" {
		w.add("listen: port %s, but the URL leads to port %s of this machine: right only if something there passes requests on", port, want)
	}
	switch {
	case c.Profile == ProfileUp:
	case u.Scheme == "http" && c.TLS != nil:
		w.add("url: clients are told to speak plain http to a listener that speaks TLS: right only behind a proxy")
	case u.Scheme == "http" && !local:
		w.add("url: plain http: whoever is on the way reads passwords and tokens, and can sign in others' names")
	case u.Scheme == "https" && c.TLS == nil:
		w.add("url: https, but there is no section tls: a proxy must terminate TLS")
	}
	if c.Profile != ProfileUp && c.TLS == nil && !IsLoopback(c.Listen) {
		w.add("listen: plaintext outside loopback: serve refuses it without --behind-proxy")
	}
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// warnKeys: who has a shared key has both services.
func (c *Config) warnKeys(w *problems) {
	used := map[string]string{}
	for _, k := range c.Keys() {
		if first, ok := used[k.Name]; ok {
			w.add("%s: %s is the key of %s too: whoever has it has both services", k.Field, k.Name, first)
		}
		used[k.Name] = k.Field
	}
}

// Key is a key that the configuration names.
type Key struct {
	Field, Name string
	Secret      bool // symmetric, NAME.secret
}

// Keys returns those of all sections.
func (c *Config) Keys() []Key {
	var out []Key
	add := func(present bool, field string, name func() string, secret bool) {
		if present {
			out = append(out, Key{field, name(), secret})
		}
	}
	add(c.TLS != nil && c.TLS.InternalCA != nil, "tls.internal_ca.key", func() string { return c.TLS.InternalCA.Key }, false)
	add(c.Audit != nil, "audit.key", func() string { return c.Audit.Key }, false)
	add(c.Peers != nil, "peers.key", func() string { return c.Peers.Key }, false)
	add(c.CA != nil, "ca.key", func() string { return c.CA.Key }, false)
	if c.CTLog != nil {
		for i, l := range c.CTLog.Logs() {
			add(true, shardField(i)+".key", func() string { return l.Key }, false)
		}
	}
	add(c.TLog != nil, "tlog.key", func() string { return c.TLog.Key }, false)
	add(c.TSA != nil, "tsa.key", func() string { return c.TSA.Key }, false)
	add(c.OIDC != nil, "oidc.secret", func() string { return c.OIDC.Secret }, true)
	add(c.TUF != nil, "tuf.snapshot_key", func() string { return c.TUF.SnapshotKey }, false)
	add(c.TUF != nil, "tuf.timestamp_key", func() string { return c.TUF.TimestampKey }, false)
	return slices.DeleteFunc(out, func(k Key) bool { return !validName.MatchString(k.Name) })
}

// costWarnings: a password that takes longer to check tells that its account is
// there.
func (o *OIDC) costWarnings() []Problem {
	var out []Problem
	most := 0
	for _, u := range o.Users {
		most = max(most, bcryptCost(u.PasswordHash))
	}
	for i, u := range o.Users {
		if cost := bcryptCost(u.PasswordHash); cost > 0 && cost != most {
			out = append(out, Problem{
				Field:   fmt.Sprintf("oidc.users[%d].password_hash", i),
				Message: fmt.Sprintf("cost %d, others have %d: how long a login takes tells who has an account", cost, most),
			})
		}
	}
	return out
}
