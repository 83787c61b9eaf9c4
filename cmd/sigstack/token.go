package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/signing"
	"sigstack/internal/stack"
)

func (a *app) tokenCommand() *cobra.Command {
	var t tokenFlags
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Get an identity token for a script",
		Long: `Get an OIDC identity token and print it: the bare JWT and a newline. With --dir it
is the demo user's of a test stack, by the password grant; so it is with an
issuer, a user and a file with the password. With --exchange it is traded for a
token of another provider, such as a CI system's, if the issuer has a connector
for that (RFC 8693).`,
		Example: `  sigstack token --dir sigstack-data
  sigstack token --issuer http://localhost:8080/dex --username ann@corp.example \
      --password-file password
  echo "$CI_TOKEN" | sigstack token --issuer https://sigstack.corp.example/dex \
      --connector ci --exchange -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.token(cmd.Context(), t) },
	}
	f := cmd.Flags()
	f.StringVar(&t.dir, "dir", "", "data `directory` of a test stack (default "+defaultDir+" unless --issuer is given)")
	f.StringVar(&t.issuer, "issuer", "", "`URL` of the issuer")
	f.StringVar(&t.username, "username", "", "`login` at the issuer")
	f.StringVar(&t.passwordFile, "password-file", "", "`file` whose first line is the password")
	f.StringVar(&t.exchange, "exchange", "", "`file` with a token of another provider to trade, - for stdin")
	f.StringVar(&t.connector, "connector", "", "`ID` of the issuer's connector to that provider")
	t.tlsFlag.add(f)
	return cmd
}

type tokenFlags struct {
	dir, issuer, username, passwordFile, exchange, connector string
	tlsFlag
}

// check: a directory, or all that names another login, or an exchange.
func (t tokenFlags) check() error {
	login, trade := t.username != "" || t.passwordFile != "", t.exchange != "" || t.connector != ""
	switch {
	case login && trade:
		return usagef("--exchange and --username exclude each other: which token do you want?")
	case trade && (t.issuer == "" || t.exchange == "" || t.connector == ""):
		return usagef("--issuer, --exchange and --connector are needed together")
	case !trade && (login || t.issuer != "") && (t.issuer == "" || t.username == "" || t.passwordFile == ""):
		return usagef("--issuer, --username and --password-file are needed together")
	case t.issuer != "" && t.dir != "":
		return usagef("--dir and --issuer exclude each other")
	}
	return checkNoToken("--exchange", t.exchange)
}

// checkNoToken refuses a token where its file's name belongs, without quoting it.
func checkNoToken(flag, value string) error {
	if strings.HasPrefix(value, "eyJ") && strings.Count(value, ".") == 2 {
		return usagef("%s names a file, and this is a token, which other users of this machine can see on a command line: put it into a file", flag)
	}
	return nil
}

func (a *app) token(ctx context.Context, t tokenFlags) error {
	if err := t.check(); err != nil {
		return err
	}
	get := a.passwordToken
	if t.exchange != "" {
		get = a.exchangedToken
	}
	token, err := get(ctx, t)
	if err != nil {
		return err
	}
	a.result(map[string]string{"token": token}, func() { a.printf("%s\n", token) })
	return nil
}

func (a *app) exchangedToken(ctx context.Context, t tokenFlags) (string, error) {
	subject, err := await(ctx, func() (string, error) { return signing.ReadToken(t.exchange, a.in) })
	if errors.Is(err, fs.ErrNotExist) {
		return "", usagef("%w", err)
	}
	if err != nil {
		return "", err
	}
	o, err := t.issue(nil)
	if err != nil {
		return "", err
	}
	return o.Exchange(ctx, t.connector, subject)
}

// issue returns the issuer, whose host the given authorities vouch for, and those
// of the flag.
func (t tokenFlags) issue(kit signing.Authorities) (signing.OIDC, error) {
	given, err := t.authorities()
	if err != nil {
		return signing.OIDC{}, err
	}
	client, err := append(kit, given...).HTTPClient(t.issuer)
	return signing.OIDC{Issuer: t.issuer, HTTP: client}, err
}

func (a *app) passwordToken(ctx context.Context, t tokenFlags) (string, error) {
	var password string
	var kit signing.Authorities
	if t.issuer == "" {
		if t.dir == "" {
			t.dir = defaultDir
		}
		l := stack.Layout{Dir: t.dir}
		var err error
		if t.issuer, t.username, password, err = demoUser(l); err != nil {
			return "", err
		}
		if kit, err = signing.LoadAuthorities(l.Client()); err != nil {
			return "", err
		}
	} else {
		line, err := readSecret(ctx, passwordWord, t.passwordFile)
		if err != nil {
			return "", err
		}
		password = string(line)
	}
	o, err := t.issue(kit)
	if err != nil {
		return "", err
	}
	return o.Password(ctx, t.username, password)
}

// demoUser reads how the demo user of a test stack logs in.
func demoUser(l stack.Layout) (issuer, email, password string, err error) {
	conf, err := loadConfig(l)
	if err != nil {
		return "", "", "", err
	}
	email, password, err = l.DemoPassword()
	if errors.Is(err, fs.ErrNotExist) {
		err = usagef("%w: name another directory with --dir, or log in with --issuer, --username and --password-file", err)
	}
	return conf.IssuerURL(), email, password, err
}
