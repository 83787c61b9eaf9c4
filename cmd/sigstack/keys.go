package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := group("keys", "Work with the keys of a stack",
		a.keysCreateCommand(), a.keysImportCommand(), a.keysListCommand(), a.keysShowCommand(), a.keysTestCommand())
	cmd.Long = `Work with the keys of a stack. A key is a file, in DIR/keys or, of the roots, in
DIR/offline; or a file there refers to a key in a PKCS#11 token or a key service.
Nothing here shows a private key or replaces one. docs/keys.md has the rest.

With --signer DIR belongs to no stack, but to one who signs in ceremonies, on a
machine of his own: its keys lie in it, and create makes it.`
	return cmd
}

// keysFlags are those of every command about keys.
type keysFlags struct {
	dir        string
	signer     bool // dir is a signer's own, and belongs to no stack
	passphrase passphraseFlags
	plugins    pluginFlags
	log        logFlags
}

func (k *keysFlags) add(f *pflag.FlagSet) {
	f.StringVar(&k.dir, "dir", defaultDir, "data `directory` of the stack")
	f.BoolVar(&k.signer, "signer", false, "--dir belongs to no stack: it holds the keys of one who signs in ceremonies")
}

// addUse adds what commands need that use a key rather than read about it.
func (k *keysFlags) addUse(f *pflag.FlagSet) {
	k.add(f)
	k.passphrase.add(f)
	k.plugins.add(f)
	k.log.add(f, "warn")
}

// folder is one of the places of a stack's keys.
type folder struct {
	name  string // as shown: keys, offline or signer
	store *keys.Store
}

// opened are the keys of a stack.
type opened struct {
	conf      *config.Config
	keys      *keys.Store // DIR/keys
	shards    []string    // names of keys of the log's further shards
	ctLogs    []string    // keys of CT logs that were prepared
	folders   []folder    // that, and offline/, which may have been moved away
	encrypted bool        // a passphrase is given

	passphrase []byte
}

// readOnly opens the folders for reading about keys.
func (k keysFlags) readOnly() (opened, error) { return k.open(nil) }

// forUse opens them for using keys.
func (k keysFlags) forUse(ctx context.Context, a *app) (opened, error) {
	log, err := k.log.logger(a.err)
	if err != nil {
		return opened{}, err
	}
	passphrase, err := k.passphrase.read(ctx)
	if err != nil {
		return opened{}, err
	}
	return k.open(passphrase, keys.WithDevices(keys.Devices{PluginDir: k.plugins.dir, Log: log}))
}

func (k keysFlags) open(passphrase []byte, options ...keys.Option) (opened, error) {
	if k.signer {
		return k.openSigner(passphrase, options...)
	}
	l := stack.Layout{Dir: k.dir}
	conf, err := loadConfig(l)
	if err != nil {
		return opened{}, err
	}
	shards, err := l.ShardKeys()
	if err != nil {
		return opened{}, err
	}
	ctLogs, err := l.CTLogKeys()
	if err != nil {
		return opened{}, err
	}
	service := keys.Open(l.Keys(), passphrase, options...)
	return opened{
		conf: conf, shards: shards, ctLogs: ctLogs, keys: service, encrypted: len(passphrase) > 0, passphrase: passphrase,
		folders: []folder{{"keys", service}, {"offline", keys.Open(l.Offline(), passphrase, options...)}},
	}, nil
}

// openSigner opens a folder of keys that belongs to no stack. There are no settings
// that name one of them, and they are encrypted like those of a stack.
func (k keysFlags) openSigner(passphrase []byte, options ...keys.Option) (opened, error) {
	done, err := stack.Layout{Dir: k.dir}.Initialized()
	if err != nil {
		return opened{}, err
	}
	if done {
		return opened{}, usagef("directory %s is a stack's: leave --signer out, or name another", k.dir)
	}
	store := keys.Open(k.dir, passphrase, options...)
	return opened{
		conf: &config.Config{Profile: config.ProfileServe}, keys: store, encrypted: len(passphrase) > 0, passphrase: passphrase,
		folders: []folder{{signerFolder, store}},
	}, nil
}

// signerFolder is shown as the folder of keys that belong to no stack.
const signerFolder = "signer"

// find returns the folder that has the key.
func (o opened) find(name string) (folder, keys.Info, error) {
	for _, f := range o.folders {
		info, err := f.store.Info(name)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, info, err
		}
	}
	return folder{}, keys.Info{}, fmt.Errorf("there is no key %q: sigstack keys list names all", name)
}

// keyRow is what is shown of a key.
type keyRow struct {
	Name      string    `json:"name"`
	Folder    string    `json:"folder"` // keys, offline or signer
	URI       string    `json:"uri,omitempty"`
	Encrypted bool      `json:"encrypted"` // a file under a passphrase
	Algorithm string    `json:"algorithm,omitempty"`
	Created   time.Time `json:"created"`
	SHA256    string    `json:"sha256,omitempty"` // of the SubjectPublicKeyInfo, hex
	UsedBy    []string  `json:"used_by"`          // fields of config.yaml, or log shard
	PublicKey string    `json:"public_key,omitempty"`
	Error     string    `json:"error,omitempty"`
}

func newKeyRow(folder string, info keys.Info, o opened) keyRow {
	row := keyRow{
		Name: info.Name, Folder: folder, URI: info.URI, Encrypted: info.Encrypted,
		Algorithm: algorithmName(info.Algorithm), Created: info.Created, UsedBy: []string{},
	}
	if info.SPKI != nil {
		sum := sha256.Sum256(info.SPKI)
		row.SHA256, row.PublicKey = hex.EncodeToString(sum[:]), string(pki.PublicKeyPEM(info.SPKI))
	}
	for _, k := range o.conf.Keys() {
		if folder == "keys" && k.Name == info.Name && !k.Secret {
			row.UsedBy = append(row.UsedBy, k.Field)
		}
	}
	if folder == "keys" && slices.Contains(o.shards, info.Name) {
		row.UsedBy = append(row.UsedBy, "log shard")
	}
	if folder == "keys" && len(row.UsedBy) == 0 && slices.Contains(o.ctLogs, info.Name) {
		row.UsedBy = append(row.UsedBy, "ct log, prepared")
	}
	return row
}

// place says in a word where a private key is.
func (r keyRow) place() string {
	switch {
	case r.URI != "":
		return r.URI
	case r.Encrypted:
		return "file"
	default:
		return "file, not encrypted"
	}
}

// algorithms are the names that people use.
var algorithms = []struct {
	name string
	alg  keys.Algorithm
}{
	{"ecdsa-p256", keys.ECDSAP256},
	{"ecdsa-p384", keys.ECDSAP384},
	{"ed25519", keys.Ed25519},
}

func algorithmName(alg keys.Algorithm) string {
	for _, a := range algorithms {
		if a.alg == alg {
			return a.name
		}
	}
	return string(alg)
}

func parseAlgorithm(name string) (keys.Algorithm, error) {
	for _, a := range algorithms {
		if a.name == name {
			return a.alg, nil
		}
	}
	return "", usagef("--algorithm %q: want ecdsa-p256, ecdsa-p384 or ed25519", name)
}
