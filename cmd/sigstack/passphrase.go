package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
)

// passphraseVariable is read when no file is named.
const passphraseVariable = "SIGSTACK_PASSPHRASE"

// maxSecret bounds a file with a secret, in bytes.
const maxSecret = 4096

// passphraseFlags find the passphrase of the service keys; it is never an
// argument.
type passphraseFlags struct{ file string }

func (p *passphraseFlags) add(f *pflag.FlagSet) {
	f.StringVar(&p.file, "passphrase-file", "", "`file` with the keys' passphrase (default: the variable "+passphraseVariable+")")
}

// read returns the passphrase, empty if none is given.
func (p passphraseFlags) read() ([]byte, error) {
	if p.file == "" {
		return []byte(os.Getenv(passphraseVariable)), nil
	}
	return readPassphrase(p.file)
}

// readPassphrase reads the first line of a file; it must not be empty.
func readPassphrase(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("read passphrase: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err != nil {
		return nil, fmt.Errorf("read passphrase: %w", err)
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return nil, fmt.Errorf("read passphrase: first line of %s is empty", path)
	}
	return line, nil
}
