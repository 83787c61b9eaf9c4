package config

import "slices"

// TLS says what the listeners speak. Without the section they are plaintext.
// Exactly one of Files and InternalCA is set.
type TLS struct {
	// Files hold a certificate and its key, for operators with an authority of
	// their own. They are read again when they change.
	Files *TLSFiles `yaml:"files,omitempty"`
	// InternalCA issues the listeners' certificates from the authority that init
	// made; the process renews them by itself.
	InternalCA *InternalCA `yaml:"internal_ca,omitempty"`
	// MinVersion is "1.3" (the default) or "1.2".
	MinVersion string `yaml:"min_version,omitempty"`
	// ClientCA is a PEM file of authorities whose client certificates count
	// wherever section access asks for mtls; it is read again when it changes. A
	// relative path is below the data directory.
	ClientCA string `yaml:"client_ca,omitempty"`
}

// TLSFiles are PEM files; relative paths are below the data directory.
type TLSFiles struct {
	// Certificate: the leaf first, then what leads to its root.
	Certificate string `yaml:"certificate"`
	// Key of the leaf: PKCS#8, SEC 1 or PKCS#1, not encrypted.
	Key string `yaml:"key"`
	// Authorities, if set, go to the client kit: a PEM file of what clients need
	// to trust, for authorities that their systems do not know.
	Authorities string `yaml:"authorities,omitempty"`
}

// InternalCA is the stack's own authority for TLS.
type InternalCA struct {
	// Key is the name of the issuing key in keys/.
	Key string `yaml:"key"`
	// Chain is a PEM file, issuing certificate first, root last; a relative path
	// is below the data directory.
	Chain string `yaml:"chain"`
}

// TLSVersions are the values of TLS.MinVersion.
var TLSVersions = []string{"1.3", "1.2"}

func (t *TLS) setDefaults() {
	if t.MinVersion == "" {
		t.MinVersion = TLSVersions[0]
	}
}

func (t *TLS) validate(p *problems) {
	p.check((t.Files == nil) != (t.InternalCA == nil), "tls: want exactly one of files and internal_ca")
	p.check(slices.Contains(TLSVersions, t.MinVersion), "tls.min_version: %q, want 1.3 or 1.2", t.MinVersion)
	p.path("tls.client_ca", t.ClientCA)
	if f := t.Files; f != nil {
		p.check(f.Certificate != "", "tls.files.certificate: missing")
		p.check(f.Key != "", "tls.files.key: missing")
		p.path("tls.files.certificate", f.Certificate)
		p.path("tls.files.key", f.Key)
		p.path("tls.files.authorities", f.Authorities)
	}
	if ca := t.InternalCA; ca != nil {
		p.key("tls.internal_ca.key", ca.Key)
		p.check(ca.Chain != "", "tls.internal_ca.chain: missing")
		p.path("tls.internal_ca.chain", ca.Chain)
	}
}
