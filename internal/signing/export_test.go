package signing

// For the tests of this package only.
var (
	ParseLogAnswer         = parseLogAnswer
	ParseCertificateAnswer = parseCertificateAnswer
)
