package signing

import protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

// For the tests of this package only.
var (
	ParseLogAnswer         = parseLogAnswer
	ParseCertificateAnswer = parseCertificateAnswer
)

// Entries returns the bundle's log entries.
func (b *Bundle) Entries() []*protorekor.TransparencyLogEntry {
	return b.entity.GetVerificationMaterial().GetTlogEntries()
}
