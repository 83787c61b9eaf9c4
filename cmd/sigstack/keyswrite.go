package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/keys"
)

func (a *app) keysCreateCommand() *cobra.Command {
	var k keysFlags
	var uri, algorithm string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a key, in a file or elsewhere",
		Long: `Make a key in DIR/keys: a file, encrypted like those there, or a key in a PKCS#11
token or key service with a file that refers to it. A name that is taken and a key
that is there already are refused.

No service uses it before config.yaml names it. The keys that clients trust cannot
be changed in that way: a start with another one is refused.`,
		Example: `  sigstack keys create spare --dir /var/lib/sigstack --passphrase-file FILE
  sigstack keys create audit2 --in 'hashivault://audit2'
  sigstack keys create alice --signer --dir alice-keys --algorithm ed25519 --passphrase-file FILE
  sigstack keys create ca2 --algorithm ecdsa-p384 \
      --in 'pkcs11:token=prod;object=ca2?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/sigstack/pin'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			alg, err := parseAlgorithm(algorithm)
			if err != nil {
				return err
			}
			return a.keysWrite(cmd.Context(), k, args[0], uri, func(s *keys.Store) (keys.Key, error) {
				if uri != "" {
					return s.CreateAt(args[0], uri, alg, a.now())
				}
				return s.Create(args[0], alg, a.now())
			})
		},
	}
	k.addUse(cmd.Flags())
	cmd.Flags().StringVar(&uri, "in", "", "`URI` where the key shall live (default: a file)")
	cmd.Flags().StringVar(&algorithm, "algorithm", "ecdsa-p256", "`algorithm`: ecdsa-p256, ecdsa-p384, or in files ed25519")
	return cmd
}

func (a *app) keysImportCommand() *cobra.Command {
	var k keysFlags
	var i importFlags
	cmd := &cobra.Command{
		Use:   "import NAME",
		Short: "Take a key that exists, from a file or elsewhere",
		Long: `Take a private key that another program made: --from copies a file into DIR/keys,
encrypted like those there; --ref makes a file there that refers to a key in a
PKCS#11 token or key service and pins its public half. A name that is taken is
refused.`,
		Example: `  sigstack keys import spare --from cosign.key --from-passphrase-file PASSWORD --passphrase-file FILE
  sigstack keys import ca2 --ref 'hashivault://ca2'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, password, err := i.read(cmd.Context())
			if err != nil {
				return err
			}
			return a.keysWrite(cmd.Context(), k, args[0], i.ref, func(s *keys.Store) (keys.Key, error) {
				if i.ref != "" {
					return s.Adopt(args[0], i.ref, a.now())
				}
				return s.Import(args[0], file, password, a.now())
			})
		},
	}
	k.addUse(cmd.Flags())
	cmd.Flags().StringVar(&i.from, "from", "", "PEM `file` with the private key: PKCS#8, SEC 1, or as cosign writes it")
	cmd.Flags().StringVar(&i.passphrase, "from-passphrase-file", "", "`file` with the password of --from (default: the variable "+passwordVariable+")")
	cmd.Flags().StringVar(&i.ref, "ref", "", "`URI` where the key lives")
	return cmd
}

type importFlags struct{ from, passphrase, ref string }

func (i importFlags) read(ctx context.Context) (file, password []byte, err error) {
	switch {
	case (i.from == "") == (i.ref == ""):
		return nil, nil, usagef("want either --from FILE or --ref URI")
	case i.from == "" && i.passphrase != "":
		return nil, nil, usagef("--from-passphrase-file goes with --from")
	case i.from == "":
		return nil, nil, nil
	}
	if file, err = readGiven(i.from, maxKeyFile); err != nil {
		return nil, nil, err
	}
	if i.passphrase != "" {
		password, err = readSecret(ctx, passwordWord, i.passphrase)
		return file, password, err
	}
	return file, []byte(os.Getenv(passwordVariable)), nil
}

// keysWrite adds the key name to DIR/keys and says which it is. uri is where it lives, empty
// for a file.
func (a *app) keysWrite(ctx context.Context, k keysFlags, name, uri string, add func(*keys.Store) (keys.Key, error)) error {
	if err := keys.CheckName(name); err != nil {
		return usagef("%w", err)
	}
	if uri != "" {
		if err := keys.CheckURI(uri); err != nil {
			return usagef("%w", err)
		}
	}
	o, err := k.forUse(ctx, a)
	if err != nil {
		return err
	}
	if uri == "" {
		if err := o.checkPassphrase(); err != nil {
			return err
		}
	}
	privateFiles()
	if k.signer {
		if err := durable.MkdirAll(k.dir, 0o700); err != nil {
			return err
		}
	}
	key, err := add(o.keys)
	if err != nil {
		return err
	}
	info, err := o.keys.Info(key.Name)
	if err != nil {
		return err
	}
	row := newKeyRow(o.folders[0].name, info, o)
	a.result(row, func() { a.printf("key %s, %s: %s\n    sha256:%s\n", row.Name, row.Algorithm, row.place(), row.SHA256) })
	return nil
}

// checkPassphrase refuses to write a file under another passphrase than those
// that are there, which no serve could open together; the first one must be long
// enough.
func (o opened) checkPassphrase() error {
	switch {
	case o.conf.Profile == config.ProfileUp && o.encrypted:
		return usagef("the keys of a test stack are not encrypted: give no passphrase")
	case o.conf.Profile == config.ProfileServe && !o.encrypted:
		return usagef("the key needs the passphrase of the others: %s", passphraseHelp)
	}
	names, err := o.keys.Names()
	if err != nil && !(errors.Is(err, fs.ErrNotExist) && o.folders[0].name == signerFolder) { // which is made
		return err
	}
	for _, name := range names {
		info, err := o.keys.Info(name)
		if err != nil && !errors.Is(err, keys.ErrLocked) || info.URI != "" {
			continue // not one to compare with
		}
		_, err = o.keys.Load(name)
		return err
	}
	if !o.encrypted {
		return nil
	}
	whose := "the service keys"
	if o.folders[0].name == signerFolder {
		whose = "the signer's keys"
	}
	return checkNew(whose, o.passphrase)
}
