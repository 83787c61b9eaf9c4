package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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

// read returns the passphrase, empty if none is given. Two sources at once are
// refused: which of them was meant cannot be known.
func (p passphraseFlags) read() ([]byte, error) {
	sources := p.sources()
	switch len(sources) {
	case 0:
		return nil, nil
	case 1:
		return sources[0].read()
	}
	var names []string
	for _, s := range sources {
		names = append(names, s.name)
	}
	return nil, usagef("the passphrase is given %d times: by %s; keep one of them", len(names), strings.Join(names, " and "))
}

func (p passphraseFlags) sources() (found []passphraseSource) {
	if p.file != "" {
		found = append(found, passphraseSource{"--passphrase-file", func() ([]byte, error) { return readPassphrase(p.file) }})
	}
	if p.fd != -1 {
		found = append(found, passphraseSource{"--passphrase-fd", func() ([]byte, error) { return passphraseFromFD(p.fd) }})
	}
	if path, ok := credential(); ok {
		found = append(found, passphraseSource{"systemd's credential " + passphraseCredential, func() ([]byte, error) { return readPassphrase(path) }})
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
	return firstLine(os.NewFile(uintptr(fd), fmt.Sprintf("file descriptor %d", fd)))
}

// readPassphrase reads the first line of a file; it must not be empty. Another
// user of the machine must not be able to read it; its group may, since that is
// how orchestrators hand files to processes that are not root.
func readPassphrase(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("read passphrase: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read passphrase: %w", err), f.Close())
	}
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o027 != 0 {
		return nil, errors.Join(fmt.Errorf("read passphrase: %s has mode %04o, so others may read or replace it: chmod 600 %s, and change the passphrase if they may have",
			path, mode.Perm(), path), f.Close())
	}
	return firstLine(f)
}

// firstLine reads and closes f.
func firstLine(f *os.File) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, usagef("read passphrase: %w", err)
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch {
	case len(line) == 0:
		return nil, fmt.Errorf("read passphrase: first line of %s is empty", f.Name())
	case len(line) > maxSecret:
		return nil, fmt.Errorf("read passphrase: first line of %s has more than %d bytes", f.Name(), maxSecret)
	}
	return line, nil
}

// explainPassphrase adds to an error that a missing passphrase caused how to
// give one.
func explainPassphrase(err error) error {
	if errors.Is(err, keys.ErrNoPassphrase) {
		return fmt.Errorf("%w: %s", err, passphraseHelp)
	}
	return err
}
