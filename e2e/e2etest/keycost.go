package e2etest

import (
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// Scratch is a directory that all tests of a package share and that goes with them,
// for what is built once. TestMain has to call Main.
func Scratch() string { return filepath.Dir(program) }

// CheapenKeys encrypts every key file below the directories anew with the cost
// that cosign's own key files have, a quarter of what this program writes. A test
// that starts many processes spends most of its time on that cost otherwise; the
// program that reads them is the one that ships.
func CheapenKeys(t *testing.T, passphrase string, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if ext := filepath.Ext(path); err != nil || d.IsDir() || ext != ".key" && ext != ".secret" {
				return err
			}
			return cheapen(path, passphrase)
		})
		if err != nil {
			t.Fatalf("encrypt keys of %s anew: %v", dir, err)
		}
	}
}

func cheapen(path, passphrase string) error {
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(file)
	if block == nil || !strings.HasPrefix(block.Type, "ENCRYPTED ") {
		return nil
	}
	data, err := encrypted.Decrypt(block.Bytes, []byte(passphrase))
	if err != nil {
		return err
	}
	if block.Bytes, err = encrypted.EncryptWithCustomKDFParameters(data, []byte(passphrase), encrypted.Legacy); err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}
