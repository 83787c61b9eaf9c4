package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Host returns the URL's host name without port: the logs' origin.
func (c *Config) Host() string {
	u, err := url.Parse(c.URL)
	if err != nil {
		return "" // Validate has refused it
	}
	return u.Hostname()
}

// HostPort returns the URL's host as people see it, with its port if it names one.
func (c *Config) HostPort() string {
	_, host, _ := strings.Cut(c.URL, "://")
	return host
}

// IssuerURL returns the built-in issuer's URL.
func (c *Config) IssuerURL() string { return c.URL + "/dex" }

// OperatorName returns Operator or its default.
func (c *Config) OperatorName() string {
	if c.Operator != "" {
		return c.Operator
	}
	return c.Host()
}

// Validate checks everything that needs no file, key or network. The error is
// *Invalid, with every problem.
func (c *Config) Validate() error {
	var p problems
	c.validate(&p)
	return p.join()
}

func (c *Config) validate(p *problems) {
	p.check(c.Version == Version, "version: %d is not known, want %d", c.Version, Version)
	p.check(c.Profile == ProfileUp || c.Profile == ProfileServe, "profile: %q, want %q or %q", c.Profile, ProfileUp, ProfileServe)
	p.err("url", CheckURL(c.URL))
	if !c.Behind() {
		p.err("listen", CheckAddress(c.Listen))
		p.check(c.Profile != ProfileUp || IsLoopback(c.Listen), "listen: %q is not a loopback address, and profile up is for tests on this machine", c.Listen)
	}
	p.err("metrics_listen", CheckAddress(c.MetricsListen))
	if !IsLoopback(c.MetricsListen) {
		p.add("metrics_listen: %q is not a loopback address", c.MetricsListen)
	}
	if c.TLS != nil {
		c.TLS.validate(p)
	}
	access, limits := c.Access, c.Limits // init writes a file without defaults
	access.setDefaults(c.Profile)
	limits.setDefaults(c.Profile)
	access.validate(p, c)
	limits.validate(p)
	if c.Audit != nil {
		c.Audit.validate(p)
	}
	if c.Database != nil {
		c.Database.validate(p)
	}
	c.validateServices(p)
	c.validateIssuers(p)
	if c.Peers != nil {
		c.validatePeers(p)
	}
}

func (c *Config) validateServices(p *problems) {
	if c.CA == nil && c.CTLog == nil && c.TLog == nil && c.TSA == nil && c.OIDC == nil && c.TUF == nil {
		p.add("no service is configured: want a section of ca, ctlog, tlog, tsa, oidc, tuf")
	}
	if c.CA != nil {
		c.CA.validate(p)
		_, elsewhere := c.With("ctlog")
		own := c.CTLog != nil || elsewhere
		p.check(own || len(c.CA.CTLogs) > 0, "ca: needs the ctlog section, or a peer with it: without a CT log no certificate is issued")
		c.CA.validateCTLogs(p, own, c.Profile)
		c.validateCTStates(p)
	}
	if c.CTLog != nil {
		c.CTLog.validate(p)
		_, elsewhere := c.With("ca")
		p.check(c.CA != nil || elsewhere || len(c.CTLog.Roots) > 0, "ctlog: needs the ca section, or a peer with it: its only root is this CA's")
	}
	if c.TLog != nil {
		c.TLog.validate(p)
	}
	if c.TSA != nil {
		p.key("tsa.key", c.TSA.Key)
		p.check(c.TSA.Chain != "", "tsa.chain: missing")
	}
	if c.OIDC != nil {
		c.OIDC.validate(p, c.Profile)
	}
	if c.TUF != nil {
		c.TUF.validate(p)
	}
}

func (ca *CA) validate(p *problems) {
	p.key("ca.key", ca.Key)
	p.check(ca.Chain != "", "ca.chain: missing")
	p.names("ca.signing_algorithms", "signing algorithm", ca.SigningAlgorithms, SigningAlgorithms)
	p.check(!ca.empty(), "ca.issuers: none, so no token would be accepted")
	ca.validateIn(p, "ca")
}

func (o *OIDC) validate(p *problems, profile string) {
	p.key("oidc.secret", o.Secret)
	_, err := time.Parse(time.RFC3339, o.Since)
	p.check(o.Since == "" || err == nil, "oidc.since: %q is not a time such as 2026-01-31T12:00:00Z", o.Since)
	p.check(!o.PasswordGrant || profile == ProfileUp, "oidc.password_grant: only profile up may have it")
	o.validateUsers(p, profile)
	ids := map[string]bool{LocalConnector: true}
	for i, con := range o.Connectors {
		p.check(!ids[con.ID], "oidc.connectors[%d].id: %q is taken", i, con.ID)
		ids[con.ID] = true
		con.validate(p, fmt.Sprintf("oidc.connectors[%d]", i), profile)
	}
}

// CheckURL refuses a public URL that is not scheme://host[:port].
func CheckURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a URL", s)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%q: want http:// or https://", s)
	case u.Hostname() == "" || strings.ContainsAny(u.Hostname(), " +"):
		return fmt.Errorf("%q has no usable host name", s)
	case s != u.Scheme+"://"+u.Host:
		return fmt.Errorf("%q: want only scheme, host and port, without a final slash", s)
	case strings.HasSuffix(u.Host, ":") || u.Port() != "" && !validPort(u.Port(), 1):
		return fmt.Errorf("%q: want a port from 1 to 65535", s)
	}
	return nil
}

// CheckAddress refuses what is not host:port with a port from 0, which lets the
// system choose, to 65535. An empty host means every address.
func CheckAddress(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil || !validPort(port, 0) {
		return fmt.Errorf("%q is not host:port", s)
	}
	return nil
}

// validPort demands decimal digits: names like "http" depend on the machine.
func validPort(s string, least uint64) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n >= least
}

// IsLoopback reports whether address (host:port) can only be reached from this
// machine.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	return isLoopbackHost(host)
}

func isLoopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
