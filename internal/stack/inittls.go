package stack

import (
	"errors"
	"fmt"
	"strings"

	"sigstack/internal/config"
	"sigstack/internal/pki"
	"sigstack/internal/tlsconf"
)

// InitTLS says who speaks TLS for an https URL; the zero value: the listeners,
// with certificates of an authority that Init makes.
type InitTLS struct {
	// BehindProxy: a proxy, and the listeners are plaintext.
	BehindProxy bool
	// Files: the listeners, with an operator's certificate.
	Files *config.TLSFiles
}

// internalCA reports whether Init makes an authority for TLS.
func (cfg InitConfig) internalCA() bool {
	return strings.HasPrefix(cfg.URL, "https:") && !cfg.TLS.BehindProxy && cfg.TLS.Files == nil
}

// tls returns the section of that name, nil for plaintext listeners.
func (cfg InitConfig) tls() *config.TLS {
	switch {
	case cfg.TLS.Files != nil:
		return &config.TLS{Files: cfg.TLS.Files, MinVersion: config.TLSVersions[0]}
	case cfg.internalCA():
		return &config.TLS{
			InternalCA: &config.InternalCA{Key: keyTLSCA, Chain: "keys/tls-ca.chain.pem"},
			MinVersion: config.TLSVersions[0],
		}
	default:
		return nil
	}
}

// checkTLS refuses what could not be served afterwards.
func (cfg InitConfig) checkTLS() error {
	conf := config.Config{URL: cfg.URL}
	if cfg.internalCA() {
		if err := pki.CheckTLSHost(conf.Host()); err != nil {
			return fmt.Errorf("url: %w", err)
		}
	}
	f := cfg.TLS.Files
	switch {
	case f == nil:
		return nil
	case cfg.TLS.BehindProxy:
		return errors.New("tls: either a proxy has the certificate or the listener has")
	case !strings.HasPrefix(cfg.URL, "https:"):
		return fmt.Errorf("tls: a certificate needs an https URL, not %s", cfg.URL)
	}
	if err := tlsconf.CheckFiles(*Layout{cfg.Dir}.tlsFiles(f), conf.Host(), cfg.Now()); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	return nil
}
