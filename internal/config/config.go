// Package config is the schema of config.yaml: strict loading, defaults and
// validation that reports every problem at once. It builds nothing; the stack
// turns a valid Config into services.
package config

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Version of the schema that this program writes and reads.
const Version = 1

// Profiles: who a directory was made for.
const (
	ProfileUp    = "up"    // tests: loopback, keys in the clear, a demo user
	ProfileServe = "serve" // an operator's
)

// Config is one process's configuration. Which services run is decided by which
// sections are present.
type Config struct {
	// Version of this schema; 1.
	Version int `yaml:"version"`
	// Profile is "up" for a test directory, "serve" for a real one. `serve`
	// refuses the former.
	Profile string `yaml:"profile"`
	// URL that clients use, without path or final slash. It is part of the
	// issuer, the logs' origins and the client kit, so it never changes.
	URL string `yaml:"url"`
	// Listen is the host:port of the one public listener. A process behind another
	// one (section peers) has none.
	Listen string `yaml:"listen,omitempty"`
	// MetricsListen is the host:port of the metrics listener, loopback only.
	// Port 0 picks one; it is written to run/metrics.
	MetricsListen string `yaml:"metrics_listen"`
	// Operator names this instance in trust material: a scheme-less URI.
	// Default: the URL's host.
	Operator string `yaml:"operator,omitempty"`

	// TLS of the listeners; absent: plaintext, for loopback or behind a proxy.
	TLS *TLS `yaml:"tls,omitempty"`
	// Access says who may do what.
	Access Access `yaml:"access,omitempty"`
	// Limits bound what strangers can make this process do.
	Limits Limits `yaml:"limits,omitempty"`
	// Audit configures the audit record. A directory made before there was one
	// has no section; its record is kept all the same, without signed heads.
	Audit *Audit `yaml:"audit,omitempty"`
	// Peers names the other processes, where this one runs a part of the stack.
	Peers *Peers `yaml:"peers,omitempty"`
	// Database keeps the logs in PostgreSQL. Absent: in db/ of the data directory.
	// It never changes, but for where the database is and how many connections are
	// open to it.
	Database *Database `yaml:"database,omitempty"`

	CA    *CA    `yaml:"ca,omitempty"`
	CTLog *CTLog `yaml:"ctlog,omitempty"`
	TLog  *TLog  `yaml:"tlog,omitempty"`
	TSA   *TSA   `yaml:"tsa,omitempty"`
	OIDC  *OIDC  `yaml:"oidc,omitempty"`
	TUF   *TUF   `yaml:"tuf,omitempty"`
}

// CA configures the certificate authority.
type CA struct {
	// Key is the name of the issuing key in keys/.
	Key string `yaml:"key"`
	// Chain is a PEM file, issuing certificate first, root last; a relative
	// path is below the data directory.
	Chain string `yaml:"chain"`
	// SigningAlgorithms that keys may be proven by, some of SigningAlgorithms.
	// Default: the first seven of them, each curve with the hash of its size,
	// RSA with SHA-256, and Ed25519. A name of PSS lets RSA keys of that size in; how
	// they are proven stays PKCS#1 v1.5. By ed25519-ph nothing can be proven.
	SigningAlgorithms []string `yaml:"signing_algorithms,omitempty"`
	// CTLogs are asked in this order for the timestamp of each certificate, until one
	// gives a good one. Default: this stack's own, and no others.
	CTLogs []CTClient `yaml:"ct_logs,omitempty"`
	// Whose tokens are accepted.
	IssuerSet `yaml:",inline"`
}

// TLog configures the transparency log.
type TLog struct {
	// Key is the name of the log's key in keys/; ECDSA P-256.
	Key string `yaml:"key"`
	// TreeID of the log's tree, made at init. A missing tree is never remade.
	TreeID int64 `yaml:"tree_id"`
	// StrictDuplicates answers 409 to an entry that exists, as upstream does,
	// rather than 201 with that entry.
	StrictDuplicates bool `yaml:"strict_duplicates,omitempty"`
	// Kinds of entries that are taken, some of EntryKinds, dsse and hashedrekord
	// among them. Default: dsse, hashedrekord, helm, intoto, rekord. Entries that
	// the log has stay readable, whatever their kind.
	Kinds []string `yaml:"kinds,omitempty"`
	// Attestations stores what intoto and cose entries were signed over, and
	// shows it to everybody who reads the entry, for ever. Default: false.
	Attestations bool `yaml:"attestations,omitempty"`
	// AttestationLimit: longer ones are not stored, in bytes. Default: 102400.
	AttestationLimit int `yaml:"attestation_limit,omitempty"`
	// DisabledOperations, some of LogOperations, are answered 501. Default: none.
	DisabledOperations []string `yaml:"disabled_operations,omitempty"`
}

// TSA configures the timestamp authority.
type TSA struct {
	// Key is the name of the timestamp key in keys/.
	Key string `yaml:"key"`
	// Chain is a PEM file, leaf first, root last.
	Chain string `yaml:"chain"`
}

// OIDC configures the built-in issuer, at URL/dex.
type OIDC struct {
	// Secret is the name of the secret in keys/ that the issuer's database is
	// encrypted with: the keys that sign ID tokens are in it.
	Secret string `yaml:"secret"`
	// PasswordGrant lets scripts exchange a user's password for a token. Only
	// profile up may have it.
	PasswordGrant bool `yaml:"password_grant,omitempty"`
	// Since is when clients began to trust the issuer (RFC 3339), in a process
	// without the tuf section, whose keys are as old.
	Since string `yaml:"since,omitempty"`
	// Users with a local password.
	Users []User `yaml:"users,omitempty"`
	// Connectors to outside identity providers, in Dex's own form.
	Connectors []Connector `yaml:"connectors,omitempty"`
}

// User is a local account of the built-in issuer.
type User struct {
	// Email is the login and the identity in certificates.
	Email string `yaml:"email"`
	// Name is shown on pages.
	Name string `yaml:"name"`
	// ID is the stable subject; never reused.
	ID string `yaml:"id"`
	// PasswordHash is bcrypt's text form.
	PasswordHash string `yaml:"password_hash"`
}

// Connector is one of Dex's connectors: docs/connectors.md has them all.
type Connector struct {
	// Type is Dex's name of the kind of provider: ldap, oidc, github, ...
	Type string `yaml:"type"`
	// ID is part of every subject and callback; it never changes.
	ID string `yaml:"id"`
	// Name is what the login page offers.
	Name string `yaml:"name"`
	// Config is the connector's own settings, as Dex documents them. Where they
	// have a redirectURI, it may be left out: it is URL/dex/callback.
	Config map[string]any `yaml:"config,omitempty"`
	// Secrets are fields of Config that a file holds each, so that this file can
	// be shown to anybody: the field's name, and a path, absolute or below the
	// data directory. The file is for its owner alone (mode 0600); a newline at
	// its end is not part of the secret. Profile serve takes secrets here only.
	Secrets map[string]string `yaml:"secrets,omitempty"`
	// TokenExchange, for type oidc: let machines trade the provider's ID tokens
	// for this issuer's (RFC 8693).
	TokenExchange *TokenExchange `yaml:"token_exchange,omitempty"`
}

// TokenExchange says which tokens may be traded.
type TokenExchange struct {
	// Audiences: a token must name one in "aud". Default: the config's clientID.
	Audiences []string `yaml:"audiences,omitempty"`
	// Only keeps the connector off the login page.
	Only bool `yaml:"only,omitempty"`
}

// Marshal returns c as YAML that Parse accepts.
func (c *Config) Marshal() ([]byte, error) {
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	return buf.Bytes(), enc.Close()
}

func (c *Config) setDefaults() {
	if c.MetricsListen == "" {
		c.MetricsListen = "127.0.0.1:0"
	}
	if c.TLS != nil {
		c.TLS.setDefaults()
	}
	c.Access.setDefaults(c.Profile)
	c.Limits.setDefaults(c.Profile)
	if c.CTLog != nil && c.CTLog.Prefix == "" {
		c.CTLog.Prefix = "ctlog"
	}
	if c.OIDC != nil {
		c.OIDC.setDefaults()
	}
	if c.CA != nil {
		c.CA.fillDefaults()
	}
}

func (o *OIDC) setDefaults() {
	for _, con := range o.Connectors {
		id, ok := con.Config["clientID"].(string)
		if x := con.TokenExchange; x != nil && len(x.Audiences) == 0 && ok && id != "" {
			x.Audiences = []string{id}
		}
	}
}
