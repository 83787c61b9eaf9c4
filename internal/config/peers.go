package config

import (
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Peers says which processes the rest of the stack runs in, where this one runs
// a part of it. Processes know each other by their keys: each pins those of the
// others that it talks to, and talks to nobody else.
type Peers struct {
	// Name of this process.
	Name string `yaml:"name"`
	// Key is the name of the key in keys/ that this process proves to the others.
	Key string `yaml:"key"`
	// Listen is the host:port where the other processes reach this one, over TLS
	// with pinned keys on both sides. The front has none: it has the public
	// listener in its place, and passes on what is not its own.
	Listen string `yaml:"listen,omitempty"`
	// Processes are the others, as far as this one calls them or is called.
	Processes []Peer `yaml:"processes"`
}

// Peer is another process of the stack.
type Peer struct {
	// Name of the process: its own peers.name.
	Name string `yaml:"name"`
	// KeySHA256 is the hex SHA-256 of its public key (DER SubjectPublicKeyInfo).
	KeySHA256 string `yaml:"key_sha256"`
	// Address is the host:port where it listens, if this process calls it.
	Address string `yaml:"address,omitempty"`
	// Services that run in it: ca, ctlog, tlog, tsa, oidc, tuf. The one with tuf
	// is the front.
	Services []string `yaml:"services"`
}

// Plain reads the configuration at path, which Load accepts, as it is written:
// without defaults.
func Plain(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	var c Config
	if err := yaml.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	return &c, nil
}

// Services are the names of the sections that are services.
var Services = []string{"ca", "ctlog", "tlog", "tsa", "oidc", "tuf"}

// Behind reports whether this process has no public listener but a front, which
// passes requests on to it.
func (c *Config) Behind() bool { return c.Peers != nil && c.Peers.Listen != "" }

// Front reports whether this process passes requests on to others.
func (c *Config) Front() bool { return c.Peers != nil && c.Peers.Listen == "" }

// Has reports whether a service runs in this process.
func (c *Config) Has(service string) bool {
	switch service {
	case "ca":
		return c.CA != nil
	case "ctlog":
		return c.CTLog != nil
	case "tlog":
		return c.TLog != nil
	case "tsa":
		return c.TSA != nil
	case "oidc":
		return c.OIDC != nil
	case "tuf":
		return c.TUF != nil
	}
	return false
}

// With returns the peer that a service runs in, false if none does.
func (c *Config) With(service string) (Peer, bool) {
	if c.Peers == nil {
		return Peer{}, false
	}
	i := slices.IndexFunc(c.Peers.Processes, func(p Peer) bool { return slices.Contains(p.Services, service) })
	if i < 0 {
		return Peer{}, false
	}
	return c.Peers.Processes[i], true
}

func (c *Config) validatePeers(p *problems) {
	peers := c.Peers
	p.check(validName.MatchString(peers.Name), "peers.name: %q is not a name of a-z, 0-9 and -", peers.Name)
	p.key("peers.key", peers.Key)
	if c.Behind() {
		p.err("peers.listen", CheckAddress(peers.Listen))
		p.check(c.Profile != ProfileUp || IsLoopback(peers.Listen), "peers.listen: %q is not a loopback address, and profile up is for tests on this machine", peers.Listen)
		p.check(c.Listen == "", "listen: a process behind another one has no public listener, leave it out")
		p.check(c.TUF == nil, "tuf: the process with it is the front, which has no peers.listen")
		p.check(c.TLS == nil, "tls: the public listener is the front's; peers.listen speaks TLS by itself")
	} else {
		p.check(c.TUF != nil, "peers: the front, which has no peers.listen, needs the tuf section")
	}
	p.check(len(peers.Processes) > 0, "peers.processes: none, so nobody could be talked to")
	names, holders := map[string]bool{peers.Name: true}, map[string]string{}
	for i, x := range peers.Processes {
		field := fmt.Sprintf("peers.processes[%d]", i)
		p.check(!names[x.Name], "%s.name: %q is taken", field, x.Name)
		names[x.Name] = true
		x.validate(p, field, c, holders)
	}
}

// validate gathers in holders which process has which service.
func (x Peer) validate(p *problems, field string, c *Config, holders map[string]string) {
	p.check(validName.MatchString(x.Name), "%s.name: %q is not a name of a-z, 0-9 and -", field, x.Name)
	sum, err := hex.DecodeString(x.KeySHA256)
	p.check(err == nil && len(sum) == 32, "%s.key_sha256: %q is not a SHA-256 of 64 hex digits", field, x.KeySHA256)
	if x.Address != "" {
		p.err(field+".address", CheckAddress(x.Address))
	}
	p.check(len(x.Services) > 0, "%s.services: none", field)
	for _, s := range x.Services {
		p.check(slices.Contains(Services, s), "%s.services: %q, want some of %s", field, s, strings.Join(Services, ", "))
		p.check(!c.Has(s), "%s.services: %s runs in this process", field, s)
		p.check(holders[s] == "", "%s.services: %s runs in process %s", field, s, holders[s])
		holders[s] = x.Name
		p.check(x.Address != "" || !c.Calls(s), "%s.address: missing, and this process calls its %s", field, s)
	}
}

// Calls reports whether this process asks a service that may run in another one:
// the front all of them, the CA its log, whoever accepts tokens the built-in
// issuer, and everybody the log that audit records are anchored in.
func (c *Config) Calls(service string) bool {
	switch {
	case c.Has(service):
		return false
	case c.Front():
		return true
	}
	switch service {
	case "ctlog":
		return c.CA != nil
	case "oidc":
		own := func(iss Issuer) bool { return iss.URL == c.IssuerURL() }
		return slices.ContainsFunc(c.TokenIssuers(), own)
	case "tlog":
		return c.Audit != nil
	}
	return false
}
