package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/root"

	"sigstack/internal/trust"
)

// IssuerBacking is what is known of who vouched for a certificate's issuer, where
// it need not be whom the issuer's name belongs to.
type IssuerBacking string

// Kinds of backing. Empty: there is nothing to say.
const (
	// BackingLocal: the trust root's operator holds the issuer's keys, or chose who
	// does.
	BackingLocal IssuerBacking = "local"
	// BackingUnknown: the issuer is a public one, the root is private, and there is no
	// kit that says whether it asks the issuer itself.
	BackingUnknown IssuerBacking = "unknown"
)

// Note says in words what a reader of a verdict should know of the issuer, "" if
// nothing.
func (b IssuerBacking) Note() string {
	switch b {
	case BackingLocal:
		return "LOCALLY BACKED: the operator of this trust root has, or had, the issuer's keys, not whom its name belongs to"
	case BackingUnknown:
		return "a public issuer by the word of a private trust root: whether its keys are the issuer's own, or the operator's, only a client kit says"
	default:
		return ""
	}
}

// Backing says who vouched for the issuer of a certificate that this root verified,
// by what the root's kit tells.
func (t *TrustRoot) Backing(issuer string) IssuerBacking {
	switch {
	case issuer == "":
		return ""
	case t.issuers != nil && slices.Contains(t.issuers.LocallyBacked, issuer):
		return BackingLocal
	case t.issuers == nil && publicIssuer(issuer) && !t.publicGood():
		return BackingUnknown
	default:
		return ""
	}
}

// publicIssuer reports whether an issuer is one that the public Sigstore accepts
// too, so that its name alone could be taken for a stranger's word.
func publicIssuer(issuer string) bool {
	for _, known := range []string{
		"https://accounts.google.com", "https://agent.buildkite.com", "https://github.com/login/oauth", "https://gitlab.com",
		"https://issuer.enforce.dev", "https://issuer.hello.coop", "https://login.microsoftonline.com", "https://oauth2.sigstore.dev/auth",
		"https://oidc.circleci.com", "https://oidc.codefresh.io", "https://token.actions.githubusercontent.com",
		"https://container.googleapis.com", "https://oidc.prod-aks.azure.com",
	} {
		if issuer == known || strings.HasPrefix(issuer, known+"/") {
			return true
		}
	}
	return strings.HasPrefix(issuer, "https://oidc.eks.") && strings.Contains(issuer, ".amazonaws.com/id/")
}

// publicGood reports whether every authority of the root is one of the public
// Sigstore's, by the fingerprints of its two root certificates.
func (t *TrustRoot) publicGood() bool {
	known := []string{
		"03a38ffb1f450100c2596d1d10b900ac4d504058006dda58199576bbeb9c73d0",
		"3ba7b6cc4e95469d4d334b49cb257ad8537076fa84b0ca87ff4ecfe6a54680c1",
	}
	authorities := t.material.FulcioCertificateAuthorities()
	for _, a := range authorities {
		fulcio, ok := a.(*root.FulcioCertificateAuthority)
		if !ok || fulcio.Root == nil {
			return false
		}
		sum := sha256.Sum256(fulcio.Root.Raw)
		if !slices.Contains(known, hex.EncodeToString(sum[:])) {
			return false
		}
	}
	return len(authorities) > 0
}

// loadIssuers reads issuers.json of the kit in dir, nil if it has none.
func loadIssuers(dir string) (*trust.Issuers, error) {
	data, err := os.ReadFile(filepath.Join(dir, trust.IssuersName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read client kit: %w", err)
	}
	issuers, err := trust.ParseIssuers(data)
	if err != nil {
		return nil, fmt.Errorf("read client kit: %w", err)
	}
	return &issuers, nil
}
