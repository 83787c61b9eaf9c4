package main

import (
	"context"
	"crypto"
	"time"

	"github.com/spf13/pflag"

	"sigstack/internal/signing"
)

// identityFlags say who must have signed.
type identityFlags struct {
	subject, subjectRegexp, issuer, issuerRegexp string

	// If the command takes them:
	key     string
	plugins pluginFlags
	chain   string
	now     func() time.Time // nil: time.Now
}

func (i *identityFlags) add(f *pflag.FlagSet) {
	f.StringVar(&i.subject, "certificate-identity", "", "`identity` that must have signed, exactly")
	f.StringVar(&i.subjectRegexp, "certificate-identity-regexp", "", "`expression` that the whole identity must match")
	f.StringVar(&i.issuer, "certificate-oidc-issuer", "", "issuer `URL` that must have vouched for it, exactly")
	f.StringVar(&i.issuerRegexp, "certificate-oidc-issuer-regexp", "", "`expression` that the whole issuer must match")
}

// addOthers adds the flags for signers whom no authority of the trust root certifies.
func (i *identityFlags) addOthers(f *pflag.FlagSet) {
	f.StringVar(&i.key, "key", "", "PEM `file` with the public key that must have signed, or the URI of its key (pkcs11:... or SCHEME://KEY), instead of an identity")
	i.plugins.add(f)
	f.StringVar(&i.chain, "certificate-chain", "", "`file` with the authorities that must have certified the signer, PEM, issuer first and root last, instead of the trust root's and of an OIDC issuer")
}

func (i identityFlags) identity() (*signing.Identity, error) {
	switch {
	case i.key != "":
		return i.byKey()
	case i.chain != "":
		return i.byAuthority()
	}
	id, err := signing.NewIdentity(i.subject, i.subjectRegexp, i.issuer, i.issuerRegexp)
	if err != nil {
		return nil, usagef("%w; a signature means nothing unless you say whose you want", err)
	}
	return id, nil
}

func (i identityFlags) byAuthority() (*signing.Identity, error) {
	if i.issuer+i.issuerRegexp != "" {
		return nil, usagef("--certificate-chain names who vouches for the signer: leave out --certificate-oidc-issuer")
	}
	authority, err := readAuthority(i.chain)
	if err != nil {
		return nil, err
	}
	now := i.now
	if now == nil {
		now = time.Now
	}
	id, err := signing.NewCertificateIdentity(authority, i.subject, i.subjectRegexp, now)
	if err != nil {
		return nil, usagef("%w; a signature means nothing unless you say whose you want", err)
	}
	return id, nil
}

func (i identityFlags) byKey() (*signing.Identity, error) {
	if i.subject+i.subjectRegexp+i.issuer+i.issuerRegexp+i.chain != "" {
		return nil, usagef("--key is somebody by itself: leave out --certificate-identity, --certificate-oidc-issuer and --certificate-chain")
	}
	pub, err := i.public()
	if err != nil {
		return nil, err
	}
	return signing.NewKeyIdentity(pub)
}

func (i identityFlags) public() (crypto.PublicKey, error) {
	if isKeyURI(i.key) {
		key, err := keyAt(context.Background(), i.key, i.plugins)
		if err != nil {
			return nil, err
		}
		return key.Public(), nil
	}
	data, err := readGiven(i.key, maxKeyFile)
	if err != nil {
		return nil, err
	}
	pub, err := signing.LoadPublicKey(data)
	if err != nil {
		return nil, usagef("--key %s: %w", i.key, err)
	}
	return pub, nil
}
