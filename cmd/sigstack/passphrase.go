package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"sigstack/internal/keys"
)

// Where the passphrase of the service keys is looked for besides the flags.
const (
	passphraseVariable   = "SIGSTACK_PASSPHRASE"
	passphraseCredential = "sigstack-passphrase" // systemd's LoadCredential= and SetCredentialEncrypted=
	credentialsVariable  = "CREDENTIALS_DIRECTORY"
)

// passphraseHelp says how to give one.
const passphraseHelp = "give it with --passphrase-file FILE, --passphrase-fd N, systemd's credential " +
	passphraseCredential + " or the variable " + passphraseVariable

// maxSecret bounds a file with a secret, in bytes.
const maxSecret = 4096

// passphraseFlags find the passphrase of the service keys; it is never an
// argument.
type passphraseFlags struct {
	file string
	fd   int
}

func (p *passphraseFlags) add(f *pflag.FlagSet) {
	f.StringVar(&p.file, "passphrase-file", "", "`file` with the keys' passphrase, not open to other users (default: systemd's credential "+
		passphraseCredential+", or the variable "+passphraseVariable+")")
	f.IntVar(&p.fd, "passphrase-fd", -1, "read the keys' passphrase from this file `descriptor`: 0, or 3 and above")
}

// passphraseSource is one place that holds a passphrase.
type passphraseSource struct {
	name string
	read func() ([]byte, error)
}

// read returns the passphrase, empty if none is given; it waits for one until ctx
// ends. Two sources at once are refused: which of them was meant cannot be known.
func (p passphraseFlags) read(ctx context.Context) ([]byte, error) {
	sources := p.sources()
	switch len(sources) {
	case 0:
		return nil, nil
	case 1:
		return awaitSecret(ctx, passphraseWord, sources[0].read)
	}
	var names []string
	for _, s := range sources {
		names = append(names, s.name)
	}
	return nil, usagef("the passphrase is given %d times: by %s; keep one of them", len(names), strings.Join(names, " and "))
}

func (p passphraseFlags) sources() (found []passphraseSource) {
	if p.file != "" {
		found = append(found, passphraseSource{"--passphrase-file", func() ([]byte, error) { return secretOf(passphraseWord, p.file) }})
	}
	if p.fd != -1 {
		found = append(found, passphraseSource{"--passphrase-fd", func() ([]byte, error) { return passphraseFromFD(p.fd) }})
	}
	if path, ok := credential(); ok {
		found = append(found, passphraseSource{"systemd's credential " + passphraseCredential, func() ([]byte, error) { return secretOf(passphraseWord, path) }})
	}
	if value := os.Getenv(passphraseVariable); value != "" {
		found = append(found, passphraseSource{"the variable " + passphraseVariable, func() ([]byte, error) { return []byte(value), nil }})
	}
	return found
}

// credential returns where systemd put the passphrase, if it did.
func credential() (path string, ok bool) {
	dir := os.Getenv(credentialsVariable)
	if dir == "" {
		return "", false
	}
	path = filepath.Join(dir, passphraseCredential)
	_, err := os.Stat(path) //nolint:gosec // systemd says where
	return path, !errors.Is(err, fs.ErrNotExist)
}

// passphraseFromFD reads what the parent process left open for us. A descriptor
// that closes on exec cannot be such a one: it is this process's own, and what it
// says, such as a limit of the machine, anybody can guess.
func passphraseFromFD(fd int) ([]byte, error) {
	if fd < 0 || fd == 1 || fd == 2 {
		return nil, usagef("--passphrase-fd %d: want 0, or 3 and above", fd)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		return nil, usagef("--passphrase-fd %d: the file descriptor was not opened for this command; in a shell: --passphrase-fd %d %d<FILE", fd, fd, fd)
	}
	return firstLine(passphraseWord, os.NewFile(uintptr(fd), fmt.Sprintf("file descriptor %d", fd)))
}

// Words for secrets.
const (
	passphraseWord = "passphrase" // of keys here
	passwordWord   = "password"   // of users and of others' keys
)

// readSecret waits for the first line of a file until ctx ends. word says what it
// is.
func readSecret(ctx context.Context, word, path string) ([]byte, error) {
	return awaitSecret(ctx, word, func() ([]byte, error) { return secretOf(word, path) })
}

func awaitSecret(ctx context.Context, word string, read func() ([]byte, error)) ([]byte, error) {
	secret, err := await(ctx, read)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("wait for the %s: %w", word, context.Canceled)
	}
	return secret, err
}

// secretOf reads the first line of a file; it must not be empty. Another user of
// the machine must not be able to read it; its group may, since that is how
// orchestrators hand files to processes that are not root.
func secretOf(word, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("read %s: %w", word, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", word, err), f.Close())
	}
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o027 != 0 {
		return nil, errors.Join(fmt.Errorf("read %s: %s has mode %04o, so others may read or replace it: chmod 600 %s, and change the %s if they may have",
			word, path, mode.Perm(), path, word), f.Close())
	}
	return firstLine(word, f)
}

// firstLine reads and closes f.
func firstLine(word string, f *os.File) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, usagef("read %s: %w", word, err)
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch {
	case len(line) == 0:
		return nil, fmt.Errorf("read %s: first line of %s is empty", word, f.Name())
	case len(line) > maxSecret:
		return nil, fmt.Errorf("read %s: first line of %s has more than %d bytes", word, f.Name(), maxSecret)
	}
	return line, nil
}

// leastPassphrase is the least length of a new passphrase, in characters. Whoever
// has a copy of the keys can try out shorter ones, in spite of scrypt.
const leastPassphrase = 8

// checkNew refuses a passphrase that is too short to encrypt anything with. Keys
// that are encrypted already are opened by any.
func checkNew(whose string, passphrase []byte) error {
	if n := utf8.RuneCount(passphrase); n < leastPassphrase {
		return usagef("the passphrase of %s has %d characters, want at least %d: whoever has a copy of the keys can try such short ones out; openssl rand -hex 32 makes a good one",
			whose, n, leastPassphrase)
	}
	return nil
}

// explainPassphrase says how to give a passphrase, of an error that a missing one
// caused: of all keys, whichever was the first to need it.
func explainPassphrase(err error) error {
	if errors.Is(err, keys.ErrNoPassphrase) {
		return fmt.Errorf("%w: %s", keys.ErrNoPassphrase, passphraseHelp)
	}
	return err
}
