package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigstack/internal/pki"
)

// Kit file names beside those that are TUF targets too.
const (
	RootName      = "root.json"
	FulcioPEMName = "fulcio.crt.pem"
	RekorPEMName  = "rekor.pub"
	CTPEMName     = "ctfe.pub"
	TSAPEMName    = "tsa.crt.pem"
	TLSPEMName    = "tls-ca.crt.pem"
	AuditPEMName  = "audit.pub"
	EnvName       = "env.sh"
	ReadmeName    = "README.txt"
)

// KitNames lists every name that a file of a kit can have.
func KitNames() []string {
	return []string{
		RootName, TrustedRootName, SigningConfigName, ClientTrustConfigName,
		FulcioPEMName, RekorPEMName, CTPEMName, TSAPEMName, TLSPEMName, AuditPEMName, IssuersName, EnvName, ReadmeName,
	}
}

// Kit is what a client kit is made of: all that someone needs who trusts the
// stack, in files.
type Kit struct {
	Material Material
	// RootJSON is the first TUF root, with which a client starts.
	RootJSON []byte
	// URL is the stack's, without trailing slash. The TUF repository is at
	// URL/tuf.
	URL string
	// TLSAuthorities are the roots of the listeners' certificates, for stacks whose
	// authority no system knows; none for plaintext and for public authorities.
	TLSAuthorities []*x509.Certificate
	// AuditKeys are SPKIs of the keys that sign the heads of audit records, one of
	// each process; none where they are not signed.
	AuditKeys [][]byte
	// Issuers tells of those of the stack's CA; nil: not known here.
	Issuers *Issuers
}

// File is one file of a kit.
type File struct {
	Name string
	Data []byte
}

// Files renders the kit. Files of services that the material lacks are left out,
// and so are their lines in env.sh. home is the absolute directory where the kit
// lies: env.sh falls back to it in shells that do not tell a sourced script
// where it stands. The same input always gives the same bytes.
func (k Kit) Files(home string) ([]File, error) {
	if _, err := hostOf(k.URL); err != nil {
		return nil, fmt.Errorf("render kit: %w", err)
	}
	if len(k.RootJSON) == 0 {
		return nil, errors.New("render kit: no TUF root")
	}
	files := []File{{RootName, k.RootJSON}}
	for _, doc := range []struct {
		name   string
		render func() ([]byte, error)
	}{
		{TrustedRootName, k.Material.TrustedRoot},
		{SigningConfigName, k.Material.SigningConfig},
		{ClientTrustConfigName, k.Material.ClientTrustConfig},
	} {
		data, err := doc.render()
		if err != nil {
			return nil, fmt.Errorf("render kit: %w", err)
		}
		files = append(files, File{doc.name, data})
	}
	files = append(files, k.Material.pemFiles()...)
	if len(k.TLSAuthorities) > 0 {
		files = append(files, File{TLSPEMName, pki.CertificatesPEM(k.TLSAuthorities)})
	}
	if len(k.AuditKeys) > 0 {
		var keys []byte
		for _, spki := range k.AuditKeys {
			keys = append(keys, pki.PublicKeyPEM(spki)...)
		}
		files = append(files, File{AuditPEMName, keys})
	}
	if k.Issuers != nil {
		data, err := k.Issuers.Encode()
		if err != nil {
			return nil, fmt.Errorf("render kit: %w", err)
		}
		files = append(files, File{IssuersName, data})
	}
	has := func(name string) bool {
		for _, f := range files {
			if f.Name == name {
				return true
			}
		}
		return false
	}
	return append(files, File{EnvName, envScript(home, k.URL, has)}, File{ReadmeName, k.readme()}), nil
}

// pemFiles hold what one environment variable of a legacy client can name: a
// single log key, the newest; all CA chains; a single timestamp chain.
func (m Material) pemFiles() []File {
	var out []File
	if cas := newestAuthorities(m.CAs); len(cas) > 0 {
		var certs []*x509.Certificate
		for _, ca := range cas {
			for _, c := range ca.Chain {
				if !slices.ContainsFunc(certs, c.Equal) {
					certs = append(certs, c)
				}
			}
		}
		out = append(out, File{FulcioPEMName, pki.CertificatesPEM(certs)})
	}
	logs := setLogs(m.TLogs)
	if len(logs) == 0 {
		logs = newestLogs(m.TLogs)
	}
	if len(logs) > 0 {
		out = append(out, File{RekorPEMName, pki.PublicKeyPEM(logs[0].PublicKey)})
	}
	if logs := newestLogs(m.CTLogs); len(logs) > 0 {
		out = append(out, File{CTPEMName, pki.PublicKeyPEM(logs[0].PublicKey)})
	}
	for _, tsa := range onlyAuthority(m.TSAs) {
		out = append(out, File{TSAPEMName, pki.CertificatesPEM(tsa.Chain)})
	}
	return out
}

// RootSHA256 is the fingerprint by which people compare a root.json, in hex.
func RootSHA256(rootJSON []byte) string {
	return fmt.Sprintf("%x", sha256.Sum256(rootJSON))
}

func (k Kit) readme() []byte {
	issuer := k.URL + "/dex"
	if s := k.Material.OIDCServices; len(s) > 0 {
		issuer = s[0].URL
	}
	text := readmeText
	if len(k.TLSAuthorities) > 0 {
		text += readmeTLS
	}
	text = strings.NewReplacer("URL", k.URL, "SHA256", RootSHA256(k.RootJSON), "ISSUER", issuer).Replace(text)
	if k.Issuers != nil && len(k.Issuers.LocallyBacked) > 0 {
		text += readmeIssuers + "  " + strings.Join(k.Issuers.LocallyBacked, "\n  ") + "\n"
	}
	return []byte(text)
}

// readmeIssuers goes before the names of issuers.
const readmeIssuers = `
LOCALLY BACKED issuers: certificates of this stack that name one of these were issued
by keys of the stack's operator, not of whom the name belongs to (issuers.json):
`

const readmeText = `Client kit of the Sigstore at URL

root.json                 first TUF root; compare its SHA-256 over another channel:
                          SHA256
trusted_root.json         keys and certificates to verify with
signing_config.v0.2.json  services to sign with
client_trust_config.json  both in one file (sigstore-python, Kubewarden)
*.crt.pem *.pub           the same keys and certificates for older clients
env.sh                    variables for those:  . ./env.sh   or   eval "$(sh /path/to/env.sh)"
                          (with them set, cosign 3 verifies only when given --trusted-root)

With cosign 3, by files:
  cosign sign-blob --signing-config signing_config.v0.2.json --trusted-root trusted_root.json --bundle F.sigstore.json F
  cosign verify-blob --trusted-root trusted_root.json --bundle F.sigstore.json \
    --certificate-identity YOU --certificate-oidc-issuer ISSUER F
or by TUF, after which the two file options can be left out:
  cosign initialize --mirror URL/tuf --root root.json --root-checksum SHA256
`

// readmeTLS: Go reads SSL_CERT_FILE on Unix systems but macOS, in place of the
// system's file and beside its directories, and so does OpenSSL. Python's requests,
// which sigstore-python signs with, knows REQUESTS_CA_BUNDLE only.
const readmeTLS = `
The services speak TLS with certificates of a private authority:
  tls-ca.crt.pem          that authority. It vouches for who answers at URL,
                          and for nothing that is signed.
sigstack takes it from this directory by itself (--client). For others env.sh sets
  SSL_CERT_FILE           cosign, curl and what else is written in Go or uses OpenSSL.
                          It stands in place of the system's file of authorities, whose
                          directory (/etc/ssl/certs) is read beside it: where that is
                          empty, or public hosts fail, append the system's file to a copy.
  NODE_EXTRA_CA_CERTS     Node.js (sigstore-js), beside its own authorities.
sigstore-python wants REQUESTS_CA_BUNDLE too, which replaces all other authorities.
On macOS and Windows Go asks the system: add the authority to the keychain or store.
`
