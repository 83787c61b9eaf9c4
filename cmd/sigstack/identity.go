package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/spf13/pflag"

	"sigstack/internal/signing"
)

// signerFlags say who signs.
type signerFlags struct {
	clientFlags
	token, audience string
	device          bool
	keyFlags
}

func (s *signerFlags) add(f *pflag.FlagSet) {
	s.clientFlags.add(f)
	if err := f.MarkHidden("offline"); err != nil { // known, so that its error says why not
		panic("sigstack: " + err.Error())
	}
	f.StringVar(&s.token, "identity-token", "", "`file` with an identity token, - for stdin (default: the variable "+signing.TokenVariable+", else that of the CI system or platform, else a login in the browser)")
	f.StringVar(&s.audience, "audience", signing.DefaultClientID, "`name` that the token of a CI system or platform is asked for, and has to be for")
	f.BoolVar(&s.device, "device", false, "log in on another device, by a code: for machines without a browser")
}

// session returns a signing session for the flags' identity, or their key.
func (s signerFlags) session(ctx context.Context, a *app) (*signing.Session, error) {
	if err := s.checkSigning(); err != nil {
		return nil, err
	}
	if s.key != "" && (s.token != "" || s.device) {
		return nil, usagef("--key signs with a key pair: leave out --identity-token and --device")
	}
	if err := s.keyFlags.check(); err != nil {
		return nil, err
	}
	kit, err := s.kit(ctx, a)
	if err != nil {
		return nil, err
	}
	client, err := kit.HTTPClient()
	if err != nil {
		return nil, err
	}
	c := signing.SessionConfig{Kit: kit, HTTP: a.noteRetries(client), Now: a.now, Log: discardLog()}
	if s.key != "" {
		err = s.keyFlags.set(ctx, &c)
	} else {
		c.Token, err = s.source(ctx, a, kit)
	}
	if err != nil {
		return nil, err
	}
	return signing.NewSession(c)
}

func (s signerFlags) source(ctx context.Context, a *app, kit *signing.Kit) (signing.TokenSource, error) {
	token, err := s.given(ctx, a)
	if err != nil {
		return nil, err
	}
	if token != "" {
		return signing.StaticToken(token), nil
	}
	if !s.device {
		found, err := s.ambient(a)
		if found != nil || err != nil {
			return found, err
		}
	}
	services, err := kit.Services(a.now())
	if err != nil {
		return nil, err
	}
	client, err := kit.HTTPClient()
	if err != nil {
		return nil, err
	}
	return a.login(signing.OIDC{Issuer: services.OIDC, HTTP: client}, s.device), nil
}

// ambient returns the token that lies ready where this runs, nil if there is none.
// Which one it takes is told, since nobody named it.
func (s signerFlags) ambient(a *app) (signing.TokenSource, error) {
	found, err := signing.CI{Audience: s.audience, HTTP: a.noteRetries(signing.NewHTTPClient())}.Find()
	if err != nil {
		return nil, usagef("%w", err)
	}
	if found == nil {
		return nil, nil
	}
	a.notef("identity token: %s\n", shown(found.Where))
	return found.Token, nil
}

// given returns the token of the flag, "" if there is none.
func (s signerFlags) given(ctx context.Context, a *app) (string, error) {
	switch {
	case s.device && s.token != "":
		return "", usagef("--device and --identity-token exclude each other")
	case s.token == "":
		return "", nil
	case strings.HasPrefix(s.token, "eyJ") && strings.Count(s.token, ".") == 2:
		// The error must not quote it.
		return "", usagef("--identity-token names a file, and this is a token, which other users of this machine can see on a command line: put it into a file or %s", signing.TokenVariable)
	}
	token, err := await(ctx, func() (string, error) { return signing.ReadToken(s.token, a.in) })
	if errors.Is(err, fs.ErrNotExist) {
		return "", usagef("%w", err)
	}
	return token, err
}
