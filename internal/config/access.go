package config

import (
	"net/netip"
	"slices"
	"strings"
)

// Ways to be let in.
const (
	AccessAnonymous = "anonymous" // anybody
	AccessBearer    = "bearer"    // an ID token of an issuer that the CA trusts
	AccessMTLS      = "mtls"      // a client certificate of tls.client_ca
	AccessInternal  = "internal"  // nobody but this stack's own services
)

// Access says who may do what. Health, trust root, client kit, the CA's own
// certificates and the issuer's pages are always for everybody.
type Access struct {
	// TrustedProxies are the networks (CIDR) of proxies whose X-Forwarded-For
	// names the client. Without them whoever asks through a proxy counts as the
	// proxy where limits count by address.
	TrustedProxies []string `yaml:"trusted_proxies,omitempty"`
	// Read is who may read the transparency log and the CT log: anonymous, bearer
	// or mtls. Default: anonymous. Clients that look entries up or watch the log
	// send neither tokens nor certificates; bundles verify without it.
	Read string `yaml:"read,omitempty"`
	// Write is who may write, by service.
	Write WriteAccess `yaml:"write,omitempty"`
	// RedactEmails closes the search by e-mail address and subject to all who show
	// neither a token nor a client certificate. Entries stay as they are.
	RedactEmails bool `yaml:"redact_emails,omitempty"`
	// Whose tokens count as bearer. Only for a process without the ca section, whose
	// issuers count otherwise.
	IssuerSet `yaml:",inline"`
}

// WriteAccess says for each service who may ask it to sign. Defaults: anonymous,
// and in profile serve internal for the CT log.
type WriteAccess struct {
	// CA: anonymous, which demands the token that a certificate request carries
	// anyway, or mtls besides.
	CA string `yaml:"ca,omitempty"`
	// CTLog: anonymous, bearer, mtls or internal.
	CTLog string `yaml:"ctlog,omitempty"`
	// TLog and TSA: anonymous, bearer or mtls. Upstream's clients send neither
	// tokens nor certificates there.
	TLog string `yaml:"tlog,omitempty"`
	TSA  string `yaml:"tsa,omitempty"`
}

// Rate is a token bucket: PerSecond on average, Burst at once. The zero Rate has
// no limit.
type Rate struct {
	PerSecond float64 `yaml:"per_second"`
	Burst     int     `yaml:"burst"`
}

// Limits bound what strangers can make a process do. Zero values take defaults,
// which differ between the profiles where the comment says so.
type Limits struct {
	// Connections at once, and requests under way; over it connections that were
	// waited for the longest are closed. Default: 4096.
	Connections int `yaml:"connections,omitempty"`
	// BodyMemory bounds what is held at once of large request bodies and answers,
	// in bytes; over it requests are answered 429. No address holds more than it
	// leaves free for others. Default: 128 MiB.
	BodyMemory int64 `yaml:"body_memory,omitempty"`
	// Address limits requests that write, per client address. Default in profile
	// serve: 50 a second, 200 at once; in profile up: no limit.
	Address Rate `yaml:"address,omitempty"`
	// Identity limits certificates per issuer and subject. Default in profile
	// serve: 5 a second, 100 at once; in profile up: no limit.
	Identity Rate `yaml:"identity,omitempty"`
	// Issuer limits certificates per issuer. Default: no limit.
	Issuer Rate `yaml:"issuer,omitempty"`
	// Logins limits failed logins for one account from one address; ten times that
	// holds for an address, twenty times for an account. Default in both profiles:
	// one in 30 seconds, 5 at once.
	Logins Rate `yaml:"logins,omitempty"`
	// FreeDisk is below which free space, in bytes, on a disk that services write
	// to, is warned. Below 64 MiB the logs take no entries whatever it says.
	// Default: 512 MiB.
	FreeDisk int64 `yaml:"free_disk,omitempty"`
}

func (a *Access) setDefaults(profile string) {
	anonymous := func(s *string) {
		if *s == "" {
			*s = AccessAnonymous
		}
	}
	if a.Write.CTLog == "" && profile == ProfileServe {
		a.Write.CTLog = AccessInternal
	}
	for _, s := range []*string{&a.Read, &a.Write.CA, &a.Write.CTLog, &a.Write.TLog, &a.Write.TSA} {
		anonymous(s)
	}
	a.fillDefaults()
}

func (l *Limits) setDefaults(profile string) {
	if l.Connections == 0 {
		l.Connections = 4096
	}
	if l.BodyMemory == 0 {
		l.BodyMemory = 128 << 20
	}
	if l.FreeDisk == 0 {
		l.FreeDisk = 512 << 20
	}
	if l.Logins == (Rate{}) {
		l.Logins = Rate{PerSecond: 1. / 30, Burst: 5}
	}
	if profile != ProfileServe {
		return
	}
	if l.Address == (Rate{}) {
		l.Address = Rate{PerSecond: 50, Burst: 200}
	}
	if l.Identity == (Rate{}) {
		l.Identity = Rate{PerSecond: 5, Burst: 100}
	}
}

// permission is one setting of who may do something.
type permission struct {
	field, value string
	allowed      []string
	services     []string // that it is about
}

func (a *Access) permissions() []permission {
	everybody := []string{AccessAnonymous, AccessBearer, AccessMTLS}
	return []permission{
		{"access.read", a.Read, everybody, []string{"ctlog", "tlog"}},
		{"access.write.ca", a.Write.CA, []string{AccessAnonymous, AccessMTLS}, []string{"ca"}},
		{"access.write.ctlog", a.Write.CTLog, append(everybody, AccessInternal), []string{"ctlog"}},
		{"access.write.tlog", a.Write.TLog, everybody, []string{"tlog"}},
		{"access.write.tsa", a.Write.TSA, everybody, []string{"tsa"}},
	}
}

func (a *Access) validate(p *problems, c *Config) {
	for i, x := range a.TrustedProxies {
		_, err := netip.ParsePrefix(x)
		p.check(err == nil, "access.trusted_proxies[%d]: %q is not a network such as 10.0.0.0/8 or 10.1.2.3/32", i, x)
	}
	for _, f := range a.permissions() {
		p.check(slices.Contains(f.allowed, f.value), "%s: %q, want one of %s", f.field, f.value, strings.Join(f.allowed, ", "))
		switch here := slices.ContainsFunc(f.services, c.Has); f.value {
		case AccessMTLS: // behind a front it is the front that clients show it to
			p.check(c.Behind() || c.TLS != nil && c.TLS.ClientCA != "", "%s: mtls needs tls.client_ca, the authorities of client certificates", f.field)
		case AccessBearer:
			p.check(!here || c.CA != nil || !a.empty(), "%s: bearer needs issuers whose tokens count: this process has no ca section, so name them in access.issuers", f.field)
		}
	}
	p.check(c.CA == nil || a.empty(), "access.issuers: the issuers of section ca count in this process, leave it out")
	a.validateIn(p, "access")
}

func (l *Limits) validate(p *problems) {
	p.check(l.Connections >= 16, "limits.connections: %d, want at least 16", l.Connections)
	p.check(l.BodyMemory >= 16<<20, "limits.body_memory: %d, want at least 16777216", l.BodyMemory)
	p.check(l.FreeDisk >= 64<<20, "limits.free_disk: %d, want at least 67108864", l.FreeDisk)
	for _, f := range []struct {
		field string
		rate  Rate
	}{{"address", l.Address}, {"identity", l.Identity}, {"issuer", l.Issuer}, {"logins", l.Logins}} {
		ok := f.rate == Rate{} || f.rate.PerSecond > 0 && f.rate.Burst > 0
		p.check(ok, "limits.%s: want per_second and burst above zero", f.field)
	}
}
