package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/keys"
	tufroot "sigstack/tuf-root"
	"sigstack/tuf-root/ceremony"
)

// ceremonySignFlags say who signs, and with what.
type ceremonySignFlags struct {
	folder, dir, key, as string
	yes                  bool
	passphrase           passphraseFlags
	plugins              pluginFlags
	log                  logFlags
}

func (a *app) ceremonySignCommand() *cobra.Command {
	var s ceremonySignFlags
	cmd := &cobra.Command{
		Use:   "sign",
		Short: "See what a ceremony changes, and sign it",
		Long: `Check the folder of a ceremony, show in plain words what a signature agrees to, ask,
and sign with a key of --dir: one that keys create --signer made, or DIR/offline of
a stack. Needs this binary and the folder: no network, and no stack.

The passphrase comes from where that of every key comes from, or else from the file
passphrase in --dir. With --yes nothing is asked, for scripts and tests: the name in
the transcript says so then, and that nobody need have read what was signed.`,
		Example: `  sigstack tuf ceremony sign --folder /media/stick/ceremony --dir alice-keys --key alice --as 'Alice Ng'
  sigstack tuf ceremony sign --folder F --dir /media/offline --key tuf-root --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.ceremonySign(cmd.Context(), s) },
	}
	folderFlag(cmd, &s.folder)
	f := cmd.Flags()
	f.StringVar(&s.dir, "dir", "", "`directory` of the signer's keys")
	f.StringVar(&s.key, "key", "", "`name` of the key (default: the only one there)")
	f.StringVar(&s.as, "as", "", "`name` of the signer, for the transcript (default: that of the key)")
	f.BoolVar(&s.yes, "yes", false, "do not ask: gives up that somebody reads what is signed")
	s.passphrase.add(f)
	s.plugins.add(f)
	s.log.add(f, "warn")
	return cmd
}

func (a *app) ceremonySign(ctx context.Context, s ceremonySignFlags) error {
	c, err := openCeremony(s.folder)
	if err != nil {
		return err
	}
	key, err := a.signerKey(ctx, s)
	if err != nil {
		return err
	}
	who := cmp.Or(s.as, key.Name)
	if wanted(c, key) {
		a.showProposal(c)
		if s.yes {
			a.printTo(a.err, "\n--yes: signed without a question; nobody need have read the above\n")
			who += " (--yes: not asked)"
		} else if err := a.confirm(ctx, who, key.Name); err != nil {
			return err
		}
	}
	if err := c.Sign(key, who, a.now()); err != nil {
		return fmt.Errorf("nothing was signed: %w", err)
	}
	return a.showCeremony(c, s.folder, false)
}

// signerKey loads the key of a signer.
func (a *app) signerKey(ctx context.Context, s ceremonySignFlags) (keys.Key, error) {
	if s.dir == "" {
		return keys.Key{}, usagef("want --dir: the directory of the signer's keys")
	}
	log, err := s.log.logger(a.err)
	if err != nil {
		return keys.Key{}, err
	}
	passphrase, err := s.passphrase.read(ctx)
	if err != nil {
		return keys.Key{}, err
	}
	if beside := filepath.Join(s.dir, "passphrase"); len(passphrase) == 0 {
		if _, err := os.Stat(beside); !errors.Is(err, fs.ErrNotExist) {
			if passphrase, err = readSecret(ctx, passphraseWord, beside); err != nil {
				return keys.Key{}, err
			}
		}
	}
	store := keys.Open(s.dir, passphrase, keys.WithDevices(keys.Devices{PluginDir: s.plugins.dir, Log: log}))
	name, err := signerKeyName(store, s)
	if err != nil {
		return keys.Key{}, err
	}
	key, err := store.Load(name)
	if errors.Is(err, fs.ErrNotExist) {
		return key, fmt.Errorf("%w: sigstack keys list --signer --dir %s names those that are there", err, s.dir)
	}
	return key, explainPassphrase(err)
}

// signerKeyName is the one that is given, or the only one.
func signerKeyName(store *keys.Store, s ceremonySignFlags) (string, error) {
	if s.key != "" {
		return s.key, nil
	}
	names, err := store.Names()
	if err != nil {
		return "", err
	}
	if len(names) != 1 {
		return "", usagef("want --key: %s has %d keys", s.dir, len(names))
	}
	return names[0], nil
}

// wanted reports whether a signature of key is missing. If it is not, signing says
// why.
func wanted(c *ceremony.Ceremony, key keys.Key) bool {
	id, err := tufKeyID(key)
	return err == nil && slices.ContainsFunc(c.Status().Roles, func(r ceremony.RoleStatus) bool {
		return slices.Contains(r.Missing, id)
	})
}

// showProposal prints what a signature agrees to, whatever the format of output.
func (a *app) showProposal(c *ceremony.Ceremony) {
	st := c.Status()
	a.printTo(a.err, "%s\nceremony %s\n    compare this number with the other signers, by another way than the folder\n\n", st.Title, st.ID)
	a.printTo(a.err, "Your signature agrees to all of this:\n%s", changeList(c.Changes()))
}

// confirm asks until a line was read.
func (a *app) confirm(ctx context.Context, who, key string) error {
	a.printTo(a.err, "\nSign as %s, with key %s? Type yes: ", who, key)
	line, err := await(ctx, func() (string, error) { return bufio.NewReader(a.in).ReadString('\n') })
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("ask the signer: %w", err)
	}
	if strings.TrimSpace(line) != "yes" {
		a.printTo(a.err, "\n")
		return errors.New("nothing was signed: the answer was not yes")
	}
	return nil
}

func tufKeyID(key keys.Key) (string, error) { return tufroot.KeyID(key.Public()) }
