package signing

import (
	"fmt"
	"strings"
	"unicode"
)

// Check names the one fact that a refused verification found wanting. Checks are
// made in the order of the constants, so the named one is the first that failed.
type Check string

// The checks of Verify and VerifyStatement, and Sidecar for the legacy files
// beside an artifact.
const (
	CheckBundle      Check = "bundle"                // not a bundle, or one that lacks a required part
	CheckArtifact    Check = "artifact digest"       // the bundle is for other bytes
	CheckStatement   Check = "attestation"           // not an in-toto statement, no subject with the digest, or another predicate type
	CheckLog         Check = "transparency log"      // the entry's log is not in the trust root
	CheckPromise     Check = "signed entry promise"  // SET missing, forged, or outside the log key's window
	CheckInclusion   Check = "inclusion proof"       // proof or checkpoint missing or wrong
	CheckEntry       Check = "log entry"             // the entry is for another signature, key or digest
	CheckTimestamp   Check = "timestamp"             // RFC 3161 token missing, forged or of an unknown authority
	CheckCertificate Check = "certificate"           // no trusted chain at the signing time
	CheckSCT         Check = "certificate log proof" // no SCT of a trusted CT log
	CheckSignature   Check = "signature"             // not made by the certificate's key, or the bare key, over these bytes
	CheckIdentity    Check = "identity"              // signed by somebody else or another key, or vouched for by another issuer
	CheckSidecar     Check = "sidecar"               // .sig or .cert disagrees with the bundle
	CheckTUF         Check = "trust root metadata"   // TUF metadata stale, tampered with, rolled back or signed by strangers
)

// RefusedError says that a verification failed, at which check, and which trust
// root was asked. It is never a transport problem.
type RefusedError struct {
	Check     Check
	TrustRoot string // empty when no trust root was consulted
	Err       error
}

// Error names the check, the reason and the trust root, in one printable line:
// reports have one line a problem, while a verifier's own words may have several.
func (e *RefusedError) Error() string {
	reason := Printable(strings.Join(strings.Fields(e.Err.Error()), " "), maxReason)
	if e.TrustRoot == "" {
		return fmt.Sprintf("refused: %s: %s", e.Check, reason)
	}
	return fmt.Sprintf("refused: %s: %s (trust root %s)", e.Check, reason, e.TrustRoot)
}

// maxReason is the most bytes of a reason that are told. It may quote what nobody
// has signed.
const maxReason = 2000

// Printable makes the words of strangers fit for a terminal: what might act on it
// instead of showing is replaced, and what is beyond most bytes is cut off.
func Printable(s string, most int) string {
	return shorten(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s), most)
}

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Err }

// UnreachableError says that a service gave no usable answer however often it
// was asked: no connection, a time-out, or 502, 503 and 504 from what stands in
// front of it.
type UnreachableError struct {
	Service string // "certificate authority", "transparency log", ...
	URL     string
	Err     error
	Next    string // what the user may try; empty for a service of a kit
}

// Error names the service, its URL, the reason and what to try next.
func (e *UnreachableError) Error() string {
	next := e.Next
	if next == "" {
		next = "check that the stack is running and that --client names its kit"
	}
	return fmt.Sprintf("%s at %s cannot be reached: %v; %s", e.Service, e.URL, e.Err, next)
}

// Unwrap returns the reason.
func (e *UnreachableError) Unwrap() error { return e.Err }

// ServiceError is an answer by which a service turned a request down.
type ServiceError struct {
	Service string
	URL     string
	Status  int    // HTTP status
	Message string // the service's own words, shortened
	Next    string // what the user may try; may be empty

	code string // OAuth error code of the body, if any
}

// Error names the service, its URL, its answer and what to try next.
func (e *ServiceError) Error() string {
	s := fmt.Sprintf("%s at %s answered %d: %s", e.Service, e.URL, e.Status, e.Message)
	if e.Next != "" {
		s += "; " + e.Next
	}
	return s
}
