package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"sigstack/internal/config"
	"sigstack/internal/stack"
	"sigstack/internal/trust"
)

// tlsFlags say who speaks TLS for an https URL.
type tlsFlags struct {
	cert, key, authorities string
	behindProxy            bool
}

func (t *tlsFlags) add(f *pflag.FlagSet) {
	f.StringVar(&t.cert, "tls-cert", "", "PEM `file` of the listener's certificate, leaf first (default with an https URL: an authority made here issues it)")
	f.StringVar(&t.key, "tls-key", "", "PEM `file` of the certificate's key")
	f.StringVar(&t.authorities, "tls-authorities", "", "PEM `file` of authorities that clients need to trust for --tls-cert; goes to the client kit")
	f.BoolVar(&t.behindProxy, "behind-proxy", false, "a proxy terminates TLS for an https URL: the listener is plaintext")
}

// init returns what they mean for a stack at url.
func (t tlsFlags) init(url string) (stack.InitTLS, error) {
	none := stack.InitTLS{}
	switch {
	case (t.cert == "") != (t.key == ""):
		return none, usagef("--tls-cert and --tls-key go together")
	case t.authorities != "" && t.cert == "":
		return none, usagef("--tls-authorities says who issued --tls-cert, which is not given")
	case t.cert != "" && t.behindProxy:
		return none, usagef("--tls-cert and --behind-proxy exclude each other: either the listener has the certificate or a proxy has")
	case t.cert != "" && !strings.HasPrefix(url, "https:"):
		return none, usagef("--tls-cert needs an https URL: say --url https://HOST")
	case t.cert == "":
		return stack.InitTLS{BehindProxy: t.behindProxy}, nil
	}
	files := &config.TLSFiles{Certificate: t.cert, Key: t.key, Authorities: t.authorities}
	for _, f := range []struct {
		flag string
		path *string
	}{{"--tls-cert", &files.Certificate}, {"--tls-key", &files.Key}, {"--tls-authorities", &files.Authorities}} {
		if *f.path == "" {
			continue
		}
		if err := wantFile(*f.path); err != nil {
			return none, fmt.Errorf("%s: %w", f.flag, err)
		}
		abs, err := filepath.Abs(*f.path) // relative ones are below the data directory
		if err != nil {
			return none, fmt.Errorf("find %s: %w", *f.path, err)
		}
		*f.path = abs
	}
	return stack.InitTLS{Files: files}, nil
}

// reached says how clients will reach a stack that was made with cfg.
func reached(cfg stack.InitConfig, l stack.Layout) string {
	switch {
	case strings.HasPrefix(cfg.URL, "http:"):
		return "The URL is plain http: fit for this machine or a trusted network only."
	case cfg.TLS.BehindProxy:
		return "A proxy has to terminate TLS in front of " + cfg.Listen + ": outside loopback serve wants --behind-proxy."
	}
	text := "The listener, " + cfg.Listen + ", speaks TLS"
	if cfg.TLS.Files == nil {
		text += "; clients trust it by " + filepath.Join(l.Client(), trust.TLSPEMName)
	}
	if config.IsLoopback(cfg.Listen) {
		text += ".\nOnly this machine reaches that address: change listen in " + l.Config() + " for others"
	}
	return text + "."
}
