package pki

import "encoding/asn1"

// Fulcio's certificate extensions, 1.3.6.1.4.1.57264.1.N (contract: ca.md §6).
// Numbers 1 to 6 hold raw bytes, 8 to 24 a DER UTF8String.
var (
	OIDIssuerV1                = fulcio(1)
	OIDWorkflowTrigger         = fulcio(2)
	OIDWorkflowSHA             = fulcio(3)
	OIDWorkflowName            = fulcio(4)
	OIDWorkflowRepository      = fulcio(5)
	OIDWorkflowRef             = fulcio(6)
	OIDOtherName               = fulcio(7) // type-id of an otherName in the SAN
	OIDIssuer                  = fulcio(8)
	OIDBuildSignerURI          = fulcio(9)
	OIDBuildSignerDigest       = fulcio(10)
	OIDRunnerEnvironment       = fulcio(11)
	OIDSourceRepositoryURI     = fulcio(12)
	OIDSourceRepositoryDigest  = fulcio(13)
	OIDSourceRepositoryRef     = fulcio(14)
	OIDSourceRepositoryID      = fulcio(15)
	OIDSourceRepositoryOwner   = fulcio(16)
	OIDSourceRepositoryOwnerID = fulcio(17)
	OIDBuildConfigURI          = fulcio(18)
	OIDBuildConfigDigest       = fulcio(19)
	OIDBuildTrigger            = fulcio(20)
	OIDRunInvocationURI        = fulcio(21)
	OIDRepositoryVisibility    = fulcio(22)
	OIDDeploymentEnvironment   = fulcio(23)
	OIDTokenSubject            = fulcio(24)
)

// Certificate transparency (RFC 6962 §3.1 and §3.3).
var (
	OIDPoison  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3} // critical, value NULL
	OIDSCTList = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
)

// OIDTimestampPolicy is the timestamp authority's default policy
// (contract: tsa-and-others.md §1).
var OIDTimestampPolicy = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}

// Extensions of RFC 5280 §4.2.1.
var (
	oidSubjectKeyID   = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidKeyUsage       = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidAuthorityKeyID = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidExtKeyUsage    = asn1.ObjectIdentifier{2, 5, 29, 37}
)

func fulcio(n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}
}
