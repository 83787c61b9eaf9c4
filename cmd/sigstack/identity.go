package main

import (
	"context"
	"os"
	"path/filepath"

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
	token string
}

func (s *signerFlags) add(f *pflag.FlagSet) {
	s.clientFlags.add(f)
	f.StringVar(&s.token, "identity-token", "", "`file` with an identity token, - for stdin (default: the variable "+signing.TokenVariable+", else a login in the browser)")
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
	if s.token != "" {
		token, err := signing.ReadToken(s.token, a.in)
		if err != nil {
			return nil, err
		}
		return signing.StaticToken(token), nil
	}
	if token := os.Getenv(signing.TokenVariable); token != "" {
		return signing.StaticToken(token), nil
	}
	services, err := kit.Services(a.now())
	if err != nil {
		return nil, err
	}
	return a.login(services.OIDC), nil
}

// login asks the user to log in, at the first signature.
func (a *app) login(issuer string) signing.TokenSource {
	return func(ctx context.Context) (string, error) {
		return signing.OIDC{Issuer: issuer}.Browser(ctx, func(url string) error {
			a.printTo(a.err, "Log in at\n  %s\n", url)
			return nil
		})
	}
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
