package signing

import (
	"crypto"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Identity says whom a signature must be by: a certificate subject and the
// issuer that vouched for it, each given exactly or as an anchored regular
// expression; or a bare key. Make one with NewIdentity or NewKeyIdentity.
type Identity struct {
	subject, issuer string // for people: the value, or the expression between slashes
	matcher         verify.CertificateIdentity
	key             *bareKey // nil: by certificate

	authority *Authority       // which has to have issued the certificate; nil: the trust root's
	now       func() time.Time // when it has to be valid, with authority only
}

// NewKeyIdentity builds the identity of whoever holds the private half of pub.
// Signatures that carry a certificate are not by it, whatever their key.
func NewKeyIdentity(pub crypto.PublicKey) (*Identity, error) {
	key, err := newBareKey(pub)
	if err != nil {
		return nil, fmt.Errorf("build identity: %w", err)
	}
	return &Identity{key: key}, nil
}

// NewIdentity builds an identity; of each pair exactly one must be non-empty.
// Regular expressions are Go's and always match the whole value: they are
// wrapped as ^(?:...)$, so "demo@corp" does not accept "demo@corp.evil".
func NewIdentity(subject, subjectRegexp, issuer, issuerRegexp string) (*Identity, error) {
	subjectAnchored, err := oneOf("certificate identity", subject, subjectRegexp)
	if err != nil {
		return nil, err
	}
	issuerAnchored, err := oneOf("certificate OIDC issuer", issuer, issuerRegexp)
	if err != nil {
		return nil, err
	}
	m, err := verify.NewShortCertificateIdentity(issuer, issuerAnchored, subject, subjectAnchored)
	if err != nil {
		return nil, fmt.Errorf("build identity: %w", err)
	}
	return &Identity{
		subject: describe(subject, subjectRegexp),
		issuer:  describe(issuer, issuerRegexp),
		matcher: m,
	}, nil
}

// String describes the identity for people.
func (id *Identity) String() string {
	if id.key != nil {
		return id.key.String()
	}
	return id.subject + " via " + id.issuer
}

// oneOf checks that exactly one of value and expr is given and returns expr
// anchored at both ends, or empty.
func oneOf(what, value, expr string) (string, error) {
	switch {
	case value == "" && expr == "":
		return "", fmt.Errorf("%s: give a value or a regular expression", what)
	case value != "" && expr != "":
		return "", fmt.Errorf("%s: give a value or a regular expression, not both", what)
	case expr == "":
		return "", nil
	}
	anchored, err := anchor(expr)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	return anchored, nil
}

// anchor makes expr match whole values only. It compiles expr on its own first:
// "a)|(?:b" would otherwise close our group and escape the anchors.
func anchor(expr string) (string, error) {
	if _, err := regexp.Compile(expr); err != nil {
		return "", fmt.Errorf("parse regular expression: %w", err)
	}
	anchored := "^(?:" + expr + ")$"
	if _, err := regexp.Compile(anchored); err != nil {
		return "", errors.New("parse regular expression: an open \\Q or class runs past its end")
	}
	return anchored, nil
}

func describe(value, expr string) string {
	if value != "" {
		return value
	}
	return "/" + expr + "/"
}
