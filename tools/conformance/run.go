package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"

	"sigstack/internal/signing"
)

const usage = `usage:
  conformance sign-bundle [--staging] [--in-toto] --identity-token TOKEN --bundle FILE
      --trusted-root FILE --signing-config FILE ARTIFACT
  conformance verify-bundle [--staging] --bundle FILE
      (--certificate-identity IDENTITY --certificate-oidc-issuer URL | --key FILE)
      [--trusted-root FILE] FILE_OR_DIGEST`

// publicGood is the instance that the protocol means when no trusted root is
// given.
//
//go:embed testdata/public-good/trusted_root.json
var publicGood []byte

// options are the flags of both subcommands, and their one argument.
type options struct {
	staging, inToto            bool
	token, bundle              string
	identity, issuer, key      string
	trustedRoot, signingConfig string
	artifact                   string
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return errors.New("no subcommand\n" + usage)
	}
	var o options
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&o.staging, "staging", false, "")
	flags.StringVar(&o.bundle, "bundle", "", "")
	flags.StringVar(&o.trustedRoot, "trusted-root", "", "")
	var command func(context.Context, options, io.Writer) error
	switch args[0] {
	case "sign-bundle":
		command = sign
		flags.BoolVar(&o.inToto, "in-toto", false, "")
		flags.StringVar(&o.token, "identity-token", "", "")
		flags.StringVar(&o.signingConfig, "signing-config", "", "")
	case "verify-bundle":
		command = verify
		flags.StringVar(&o.identity, "certificate-identity", "", "")
		flags.StringVar(&o.issuer, "certificate-oidc-issuer", "", "")
		flags.StringVar(&o.key, "key", "", "")
	default:
		return fmt.Errorf("subcommand %q is not known\n%s", args[0], usage)
	}
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w\n%s", err, usage)
	}
	if flags.NArg() != 1 || o.bundle == "" {
		return errors.New("want --bundle and one artifact\n" + usage)
	}
	o.artifact = flags.Arg(0)
	return command(ctx, o, stdout)
}

// trust loads the trusted root that the options name.
func (o options) trust() (*signing.TrustRoot, error) {
	switch {
	case o.trustedRoot != "":
		return signing.LoadTrustRoot(o.trustedRoot)
	case o.staging:
		return nil, errors.New("--staging needs --trusted-root: the staging instance's trusted root changes, and is fetched from nowhere here")
	default:
		return signing.NewTrustRoot("public-good/trusted_root.json", publicGood)
	}
}
