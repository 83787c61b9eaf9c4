package main

import (
	"context"

	"github.com/spf13/cobra"

	"sigstack/internal/signing"
	"sigstack/internal/stack"
)

func (a *app) tokenCommand() *cobra.Command {
	var t tokenFlags
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Get an identity token for a script",
		Long: `Get an OIDC identity token by the password grant and print it: the bare JWT and a
newline. With --dir it is the demo user's of a test stack; otherwise name issuer,
user and a file with the password.`,
		Example: `  sigstack token --dir sigstack-data
  sigstack token --issuer http://localhost:8080/dex --username ann@corp.example \
      --password-file password`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.token(cmd.Context(), t) },
	}
	f := cmd.Flags()
	f.StringVar(&t.dir, "dir", "", "data `directory` of a test stack (default "+defaultDir+" unless --issuer is given)")
	f.StringVar(&t.issuer, "issuer", "", "`URL` of the issuer")
	f.StringVar(&t.username, "username", "", "`login` at the issuer")
	f.StringVar(&t.passwordFile, "password-file", "", "`file` whose first line is the password")
	return cmd
}

type tokenFlags struct{ dir, issuer, username, passwordFile string }

// check: either a directory or all that names another login.
func (t tokenFlags) check() error {
	given := 0
	for _, v := range []string{t.issuer, t.username, t.passwordFile} {
		if v != "" {
			given++
		}
	}
	switch {
	case given != 0 && given != 3:
		return usagef("--issuer, --username and --password-file are needed together")
	case given == 3 && t.dir != "":
		return usagef("--dir and --issuer exclude each other")
	}
	return nil
}

func (a *app) token(ctx context.Context, t tokenFlags) error {
	if err := t.check(); err != nil {
		return err
	}
	var password string
	if t.issuer == "" {
		if t.dir == "" {
			t.dir = defaultDir
		}
		var err error
		if t.issuer, t.username, password, err = demoUser(stack.Layout{Dir: t.dir}); err != nil {
			return err
		}
	} else {
		line, err := readPassphrase(t.passwordFile)
		if err != nil {
			return err
		}
		password = string(line)
	}
	token, err := signing.PasswordToken(ctx, t.issuer, t.username, password)
	if err != nil {
		return err
	}
	a.result(map[string]string{"token": token}, func() { a.printf("%s\n", token) })
	return nil
}

// demoUser reads how the demo user of a test stack logs in.
func demoUser(l stack.Layout) (issuer, email, password string, err error) {
	conf, err := loadConfig(l)
	if err != nil {
		return "", "", "", err
	}
	email, password, err = l.DemoPassword()
	return conf.URL + "/dex", email, password, err
}
