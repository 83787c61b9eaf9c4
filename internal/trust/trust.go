// Package trust says who was trusted from when to when: the public halves of a
// stack as one Material, and the files that clients read, rendered from it
// (contract trust-material). It is pure: no files, clock or network; serving and
// writing the files belongs to services/tuf, signing them to tufroot.
package trust

import (
	"crypto/x509"
	"time"
)

// TUF target and kit file names of the protobuf-JSON files (contract
// trust-material §1-§3). Clients ask for the first two by exactly these names.
const (
	TrustedRootName       = "trusted_root.json"
	SigningConfigName     = "signing_config.v0.2.json"
	ClientTrustConfigName = "client_trust_config.json"
)

// Window is the inclusive time in which something is trusted. End zero means
// still trusted; Start must be set.
type Window struct{ Start, End time.Time }

// Contains reports whether t lies in the window, both ends included.
func (w Window) Contains(t time.Time) bool {
	return !t.Before(w.Start) && (w.End.IsZero() || !t.After(w.End))
}

// Authority is one certificate authority or timestamp authority.
type Authority struct {
	// URI is the base URL of a CA, and the full request URL of a TSA.
	URI string
	// Chain is ordered lowest first, trust anchor last: intermediate(s) and root
	// of a CA, never a leaf; leaf, intermediate(s) and root of a TSA.
	Chain  []*x509.Certificate
	Window Window
}

// Log is one transparency log (Rekor v1 or v2) or CT log.
type Log struct {
	// BaseURL is an absolute URL; for a transparency log its host, port dropped,
	// is the name that signs the checkpoints.
	BaseURL string
	// PublicKey is the DER SubjectPublicKeyInfo.
	PublicKey []byte
	// APIVersion is 1 or 2 for a transparency log, 1 for a CT log.
	APIVersion uint32
	Window     Window
	// Idle says that the log takes no entries: not yet, or no more. Where clients
	// know a single key it is that of a log that does.
	Idle bool
}

// Service is an endpoint that signing clients contact. URL has no trailing
// slash; it is a base URL, but for a TSA, where it is the full request URL.
type Service struct {
	URL        string
	APIVersion uint32
	Window     Window
}

// Material is everything a client must trust and know of one stack. The order
// of the slices does not matter: rendering sorts as the contract demands.
type Material struct {
	// Operator names the organisation in every entry of the signing config: a
	// URI without scheme, such as "corp.example".
	Operator string

	CAs, TSAs     []Authority
	TLogs, CTLogs []Log

	CAServices, OIDCServices, TLogServices, TSAServices []Service
}
