package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"sigstack/internal/signing"
)

// clientFlags choose the one trust root that a command works with.
type clientFlags struct {
	dir                        string
	trustedRoot, signingConfig string
	tufURL, tufRoot            string
	offline                    bool
	tlsFlag
}

func (c *clientFlags) add(f *pflag.FlagSet) {
	f.StringVar(&c.dir, "client", "", "trust and services from a client kit: its `directory` (default "+filepath.Join(defaultDir, "client")+")")
	f.StringVar(&c.trustedRoot, "trusted-root", "", "trust from this `file`, a trusted_root.json, instead")
	f.StringVar(&c.signingConfig, "signing-config", "", "services to sign with from this `file`, a signing_config.v0.2.json, with --trusted-root")
	f.StringVar(&c.tufURL, "tuf-url", "", "trust and services from the TUF repository at this `URL` instead")
	f.StringVar(&c.tufRoot, "tuf-root", "", "`file` with the root.json to start from, with --tuf-url")
	c.tlsFlag.add(f)
	f.BoolVar(&c.offline, "offline", false, "make no connection but to an image's registry: with --tuf-url trust what was fetched last, until it expires; the other sources need none anyway")
}

// kit loads whom to trust and, as far as the source names any, whom to call.
func (c clientFlags) kit(ctx context.Context, a *app) (*signing.Kit, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	given, err := c.authorities()
	if err != nil {
		return nil, err
	}
	kit, err := c.load(ctx, a, given)
	if err != nil {
		return nil, err
	}
	kit.TLS = append(kit.TLS, given...)
	return kit, nil
}

func (c clientFlags) load(ctx context.Context, a *app, tls signing.Authorities) (*signing.Kit, error) {
	switch {
	case c.trustedRoot != "":
		return c.fromFiles()
	case c.tufURL != "":
		return c.fromTUF(ctx, a, tls)
	}
	dir := c.dir
	if dir == "" {
		dir = filepath.Join(defaultDir, "client")
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, usagef("no client kit: %w; name it with --client, or another source with --trusted-root or --tuf-url", err)
	}
	return signing.LoadKit(dir)
}

// tlsFlag names authorities for the stack's hosts, beside those of a kit and the
// system's.
type tlsFlag struct{ file string }

func (t *tlsFlag) add(f *pflag.FlagSet) {
	f.StringVar(&t.file, "tls-ca", "", "`file` with the authorities of the services' TLS certificates, PEM, if this machine does not know them; a client kit brings its own")
}

// authorities are those of the flag, none without it.
func (t tlsFlag) authorities() (signing.Authorities, error) {
	if t.file == "" {
		return nil, nil
	}
	data, err := readGiven(t.file, maxTrustFile)
	if err != nil {
		return nil, err
	}
	given, err := signing.ParseAuthorities(t.file, data)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return given, nil
}

// check: trust comes from one source, and roots are never merged.
func (c clientFlags) check() error {
	sources := 0
	for _, v := range []string{c.dir, c.trustedRoot, c.tufURL} {
		if v != "" {
			sources++
		}
	}
	switch {
	case sources > 1:
		return usagef("--client, --trusted-root and --tuf-url exclude each other: a verdict is one trust root's")
	case c.signingConfig != "" && c.trustedRoot == "":
		return usagef("--signing-config goes with --trusted-root")
	case (c.tufURL == "") != (c.tufRoot == ""):
		return usagef("--tuf-url and --tuf-root are needed together")
	}
	return nil
}

// checkSigning: whoever signs must know where.
func (c clientFlags) checkSigning() error {
	if c.offline {
		return usagef("--offline is for verifying: signing needs the services")
	}
	if c.trustedRoot != "" && c.signingConfig == "" {
		return usagef("--trusted-root says whom to trust, not where to sign: add --signing-config")
	}
	return nil
}

func (c clientFlags) fromFiles() (*signing.Kit, error) {
	trustedRoot, err := readTrust("--trusted-root", c.trustedRoot, aTrustedRoot)
	if err != nil {
		return nil, err
	}
	var config []byte
	if c.signingConfig != "" {
		if config, err = readTrust("--signing-config", c.signingConfig, aSigningConfig); err != nil {
			return nil, err
		}
	}
	return signing.NewKit(c.trustedRoot, trustedRoot, config)
}

func (c clientFlags) fromTUF(ctx context.Context, a *app, tls signing.Authorities) (*signing.Kit, error) {
	root, err := readTrust("--tuf-root", c.tufRoot, aTUFRoot)
	if err != nil {
		return nil, err
	}
	client, err := tls.HTTPClient(c.tufURL)
	if err != nil {
		return nil, err
	}
	// It remembers versions, so that a mirror cannot roll back to older ones.
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, usagef("find a directory for TUF metadata: %w; set XDG_CACHE_HOME", err)
	}
	kit, err := signing.TUF{
		URL: c.tufURL, Root: root, Cache: filepath.Join(cache, "sigstack", "tuf"), HTTP: client, Now: a.now, Offline: c.offline,
	}.Kit(ctx)
	if errors.Is(err, signing.ErrNotCached) {
		return nil, usagef("%w", err)
	}
	return kit, err
}

// The most bytes of files that users name.
const (
	maxTrustFile = 4 << 20
	maxKeyFile   = 64 << 10
)

// readGiven reads a file that the command line names; one that is not there is
// the user's mistake.
func readGiven(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("%w", err)
	}
	data, err := readBounded(f, path, most)
	return data, errors.Join(err, f.Close())
}

// readBounded reads r, which name stands for, to its end.
func readBounded(r io.Reader, name string, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, usagef("read %s: %w", name, err)
	}
	if int64(len(data)) > most {
		return nil, usagef("%s has more than %d bytes", name, most)
	}
	return data, nil
}
