package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/signing"
)

// passwordVariable is where cosign looks for the password of a private key.
const passwordVariable = "COSIGN_PASSWORD"

// keyFlags name a key pair to sign with instead of an identity, and a certificate
// that the user has for it.
type keyFlags struct {
	key, passphrase    string
	certificate, chain string
	plugins            pluginFlags
}

func (k *keyFlags) add(f *pflag.FlagSet) {
	f.StringVar(&k.key, "key", "", "sign with the private key (ECDSA P-256) in this PEM `file`, as cosign generate-key-pair makes it, or at this URI (pkcs11:... or SCHEME://KEY, see docs/keys.md), instead of an identity")
	f.StringVar(&k.passphrase, "passphrase-file", "", "`file` with the key's password (default: the variable "+passphraseVariable+" or "+passwordVariable+")")
	f.StringVar(&k.certificate, "certificate", "", "`file` with a certificate for --key, PEM, to sign as whom it names; with --certificate-chain")
	f.StringVar(&k.chain, "certificate-chain", "", "`file` with the authorities above --certificate, PEM: its issuer first, the root last")
	k.plugins.add(f)
}

// check refuses flags that mean nothing without others.
func (k keyFlags) check() error {
	switch {
	case k.key == "" && k.passphrase != "":
		return usagef("--passphrase-file is the password of --key: name the key too, or leave it out")
	case k.key == "" && k.certificate+k.chain != "":
		return usagef("--certificate is for --key: name the key too; without one an identity token buys a certificate")
	case (k.certificate == "") != (k.chain == ""):
		return usagef("--certificate and --certificate-chain are needed together")
	case isKeyURI(k.key) && k.passphrase != "":
		return usagef("--passphrase-file is for keys in files; a URI says where its PIN is, or its program knows")
	}
	return nil
}

// set puts key and certificate into a session's configuration.
func (k keyFlags) set(ctx context.Context, c *signing.SessionConfig) error {
	var err error
	if c.Key, err = k.private(ctx); err != nil || k.certificate == "" {
		return err
	}
	if c.Certificate, err = readCertificate(k.certificate); err != nil {
		return err
	}
	c.Authority, err = readAuthority(k.chain)
	return err
}

func (k keyFlags) private(ctx context.Context) (crypto.Signer, error) {
	if isKeyURI(k.key) {
		return keyAt(ctx, k.key, k.plugins)
	}
	data, err := readGiven(k.key, maxKeyFile)
	if err != nil {
		return nil, err
	}
	password, err := k.password(ctx)
	if err != nil {
		return nil, err
	}
	return signing.LoadPrivateKey(data, password)
}

// isKeyURI tells what is meant as the URI of a key, right or wrong, from a file.
func isKeyURI(name string) bool {
	return strings.HasPrefix(name, tokenScheme) || strings.Contains(name, "://")
}

// tokenScheme begins the URI of a key in a token, which is on this machine.
const tokenScheme = "pkcs11:"

// keyAt returns the key at a URI. What its token or service does can take a while.
func keyAt(ctx context.Context, uri string, plugins pluginFlags) (keys.Key, error) {
	if err := keys.CheckURI(uri); err != nil {
		return keys.Key{}, usagef("--key: %w", err) // quoted it might show a PIN
	}
	return await(ctx, func() (keys.Key, error) {
		return keys.Devices{PluginDir: plugins.dir, Log: discardLog()}.At(uri)
	})
}

func readCertificate(path string) (*x509.Certificate, error) {
	data, err := readGiven(path, maxTrustFile)
	if err != nil {
		return nil, err
	}
	certs, err := pki.ParseCertificatesPEM(data)
	switch {
	case err != nil:
		return nil, usagef("--certificate %s: %w", shown(path), err)
	case len(certs) != 1:
		return nil, usagef("--certificate %s: it holds %d certificates, want one; those above it go to --certificate-chain", shown(path), len(certs))
	}
	return certs[0], nil
}

func readAuthority(path string) (*signing.Authority, error) {
	data, err := readGiven(path, maxTrustFile)
	if err != nil {
		return nil, err
	}
	authority, err := signing.ParseAuthority(shown(path), data)
	if err != nil {
		return nil, usagef("--certificate-chain: %w", err)
	}
	return authority, nil
}

// password returns nil if none is given; a variable that is set but empty gives
// an empty one, which a key may well have.
func (k keyFlags) password(ctx context.Context) ([]byte, error) {
	if k.passphrase != "" {
		return readSecret(ctx, passwordWord, k.passphrase)
	}
	for _, name := range []string{passphraseVariable, passwordVariable} {
		if value, ok := os.LookupEnv(name); ok {
			return []byte(value), nil
		}
	}
	return nil, nil
}
