package explain

import (
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"time"

	"sigstack/internal/pki"
	"sigstack/services/ca/identity"
)

// Certificate is what a certificate says of its holder.
type Certificate struct {
	NameType string `json:"name_type"` // email, uri or other_name
	Name     string `json:"name"`      // its subject alternative name
	Lifetime string `json:"lifetime"`  // such as 10m0s
	// Challenges are the texts of which a client may sign one as proof of its key.
	Challenges []string    `json:"challenges"`
	Extensions []Extension `json:"extensions"` // besides those of every certificate
}

// Extension is one of Fulcio's extensions.
type Extension struct {
	OID   string `json:"oid"`
	Name  string `json:"name"` // in words
	Value string `json:"value"`
	DER   string `json:"der"` // the extension's bytes, in hexadecimal
}

func newCertificate(who identity.Principal, by identity.Issuer) (*Certificate, error) {
	encoded, err := who.Extensions()
	if err != nil {
		return nil, err
	}
	c := &Certificate{
		NameType: nameType(who.Name.Kind), Name: who.Name.Value,
		Lifetime: lifetime(by).String(), Challenges: who.Challenges,
	}
	for _, ext := range encoded {
		at := slices.IndexFunc(who.Attributes, func(a identity.Attribute) bool { return a.OID.Equal(ext.Id) })
		if at < 0 {
			continue // the subject alternative name
		}
		c.Extensions = append(c.Extensions, Extension{
			OID: ext.Id.String(), Name: extensionName(ext.Id), Value: who.Attributes[at].Value, DER: hex.EncodeToString(ext.Value),
		})
	}
	return c, nil
}

func lifetime(by identity.Issuer) time.Duration {
	if by.Lifetime == 0 {
		return identity.MaxLifetime
	}
	return by.Lifetime
}

func nameType(kind identity.NameKind) string {
	switch kind {
	case identity.RFC822Name:
		return "email"
	case identity.URIName:
		return "uri"
	default:
		return "other_name"
	}
}

// extensionName returns the words of the contract's §6 for an extension.
func extensionName(oid asn1.ObjectIdentifier) string {
	for _, known := range []struct {
		oid  asn1.ObjectIdentifier
		name string
	}{
		{pki.OIDIssuerV1, "issuer (old form)"},
		{pki.OIDWorkflowTrigger, "workflow trigger"},
		{pki.OIDWorkflowSHA, "workflow commit"},
		{pki.OIDWorkflowName, "workflow name"},
		{pki.OIDWorkflowRepository, "workflow repository"},
		{pki.OIDWorkflowRef, "workflow ref"},
		{pki.OIDIssuer, "issuer"},
		{pki.OIDBuildSignerURI, "build signer URI"},
		{pki.OIDBuildSignerDigest, "build signer digest"},
		{pki.OIDRunnerEnvironment, "runner environment"},
		{pki.OIDSourceRepositoryURI, "source repository URI"},
		{pki.OIDSourceRepositoryDigest, "source repository digest"},
		{pki.OIDSourceRepositoryRef, "source repository ref"},
		{pki.OIDSourceRepositoryID, "source repository id"},
		{pki.OIDSourceRepositoryOwner, "source repository owner URI"},
		{pki.OIDSourceRepositoryOwnerID, "source repository owner id"},
		{pki.OIDBuildConfigURI, "build config URI"},
		{pki.OIDBuildConfigDigest, "build config digest"},
		{pki.OIDBuildTrigger, "build trigger"},
		{pki.OIDRunInvocationURI, "run invocation URI"},
		{pki.OIDRepositoryVisibility, "source repository visibility"},
		{pki.OIDDeploymentEnvironment, "deployment environment"},
		{pki.OIDTokenSubject, "token subject"},
	} {
		if known.oid.Equal(oid) {
			return known.name
		}
	}
	return "extension"
}
