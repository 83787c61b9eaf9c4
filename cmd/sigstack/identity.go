package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"sigstack/internal/signing"
)

// clientFlags choose the one trust root that a command works with.
type clientFlags struct{ dir string }

func (c *clientFlags) add(f *pflag.FlagSet) {
	f.StringVar(&c.dir, "client", "", "client kit `directory` (default "+filepath.Join(defaultDir, "client")+")")
}

func (c clientFlags) kit() (*signing.Kit, error) {
	dir := c.dir
	if dir == "" {
		dir = filepath.Join(defaultDir, "client")
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, usagef("no client kit: %w; name it with --client", err)
	}
	return signing.LoadKit(dir)
}

// signerFlags say who signs.
type signerFlags struct {
	clientFlags
	token  string
	device bool
}

func (s *signerFlags) add(f *pflag.FlagSet) {
	s.clientFlags.add(f)
	f.StringVar(&s.token, "identity-token", "", "`file` with an identity token, - for stdin (default: the variable "+signing.TokenVariable+", else a login in the browser)")
	f.BoolVar(&s.device, "device", false, "log in on another device, by a code: for machines without a browser")
}

// session returns a signing session for the flags' identity.
func (s signerFlags) session(a *app) (*signing.Session, error) {
	kit, err := s.kit()
	if err != nil {
		return nil, err
	}
	source, err := s.source(a, kit)
	if err != nil {
		return nil, err
	}
	return signing.NewSession(signing.SessionConfig{Kit: kit, Token: source, Now: a.now, Log: discardLog()})
}

func (s signerFlags) source(a *app, kit *signing.Kit) (signing.TokenSource, error) {
	token, err := s.given(a)
	if err != nil {
		return nil, err
	}
	if token != "" {
		return signing.StaticToken(token), nil
	}
	services, err := kit.Services(a.now())
	if err != nil {
		return nil, err
	}
	return a.login(services.OIDC, s.device), nil
}

// given returns the token that the user handed over, "" if there is none: that
// of the flag goes before the variable's, and a wish for a login before both.
func (s signerFlags) given(a *app) (string, error) {
	switch {
	case s.device && s.token != "":
		return "", usagef("--device and --identity-token exclude each other")
	case s.device:
		return "", nil
	case s.token == "":
		return strings.TrimSpace(os.Getenv(signing.TokenVariable)), nil
	case strings.HasPrefix(s.token, "eyJ") && strings.Count(s.token, ".") == 2:
		// The error must not quote it.
		return "", usagef("--identity-token names a file, and this is a token, which other users of this machine can see on a command line: put it into a file or %s", signing.TokenVariable)
	}
	token, err := signing.ReadToken(s.token, a.in)
	if errors.Is(err, fs.ErrNotExist) {
		return "", usagef("%w", err)
	}
	return token, err
}

// identityFlags say who must have signed.
type identityFlags struct{ subject, subjectRegexp, issuer, issuerRegexp string }

func (i *identityFlags) add(f *pflag.FlagSet) {
	f.StringVar(&i.subject, "certificate-identity", "", "`identity` that must have signed, exactly")
	f.StringVar(&i.subjectRegexp, "certificate-identity-regexp", "", "`expression` that the whole identity must match")
	f.StringVar(&i.issuer, "certificate-oidc-issuer", "", "issuer `URL` that must have vouched for it, exactly")
	f.StringVar(&i.issuerRegexp, "certificate-oidc-issuer-regexp", "", "`expression` that the whole issuer must match")
}

func (i identityFlags) identity() (*signing.Identity, error) {
	id, err := signing.NewIdentity(i.subject, i.subjectRegexp, i.issuer, i.issuerRegexp)
	if err != nil {
		return nil, usagef("%w; a signature means nothing unless you say whose you want", err)
	}
	return id, nil
}
