package signing

import protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

// For the tests of this package only.
var (
	ParseLogAnswer         = parseLogAnswer
	ParseCertificateAnswer = parseCertificateAnswer
	ParseGitHubToken       = parseGitHubToken
	ParseSVIDs             = parseSVIDs
)

// CheckAudience checks that a token is for want.
func CheckAudience(token, want string) error { return CI{Audience: want}.checkAudience(token) }

// Entries returns the bundle's log entries.
func (b *Bundle) Entries() []*protorekor.TransparencyLogEntry {
	return b.entity.GetVerificationMaterial().GetTlogEntries()
}

// ParseCheckpoint returns what is read of a checkpoint.
func ParseCheckpoint(text string) (origin string, size int64, root []byte, signers []string, err error) {
	c, err := parseCheckpoint(text)
	return c.origin, c.size, c.root, c.signers, err
}
