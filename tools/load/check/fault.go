// Package check verifies the answers of a certificate authority, of transparency
// logs and of a timestamp authority from their bytes and from public keys alone
// (Fulcio v2, Rekor v1 and v2, RFC 6962, RFC 3161). It imports nothing of the
// product, so that one mistake cannot be in both; sending is left to others.
package check

import (
	"errors"
	"fmt"
)

// Kind says what was wrong with an answer. The set is closed, but for Status.
type Kind string

// Kinds of faults.
const (
	Unreachable Kind = "unreachable" // no connection
	TLS         Kind = "tls"         // a connection, but not a trusted server
	Timeout     Kind = "timeout"
	Dropped     Kind = "dropped"   // the connection ended before the answer did
	Malformed   Kind = "malformed" // not what the protocol says, before any fact is looked at
	Other       Kind = "other"     // an error that is no answer's

	// Of log entries.
	EntryID    Kind = "entry id"
	Body       Kind = "body"
	LogID      Kind = "log id"
	Index      Kind = "index"
	SET        Kind = "signed entry timestamp"
	Checkpoint Kind = "checkpoint"
	Root       Kind = "root" // proof and checkpoint speak of different trees
	Proof      Kind = "inclusion proof"
	Time       Kind = "time"    // a time that is not now, or not what it was
	Version    Kind = "version" // kind or version of an entry
	Missing    Kind = "missing" // a search without the entry

	// Of certificates.
	Chain    Kind = "chain"
	Key      Kind = "key"
	SAN      Kind = "subject alternative name"
	Issuer   Kind = "issuer" // the extension that names the token's
	Profile  Kind = "profile"
	Lifetime Kind = "lifetime"
	SCT      Kind = "sct"

	// Of timestamps.
	Refused   Kind = "refused" // a PKIStatus that grants nothing
	Imprint   Kind = "imprint"
	Nonce     Kind = "nonce"
	Signer    Kind = "signer" // somebody else than the trusted authority
	Signature Kind = "signature"
)

// Status is the kind of an unexpected HTTP status code.
func Status(code int) Kind { return Kind(fmt.Sprintf("status %d", code)) }

// Fault is a wrong answer, or none.
type Fault struct {
	Kind Kind
	Err  error
}

// Error implements error.
func (f *Fault) Error() string { return fmt.Sprintf("%s: %v", f.Kind, f.Err) }

// Unwrap implements errors.Unwrap.
func (f *Fault) Unwrap() error { return f.Err }

// KindOf is err's kind; Other if it has none.
func KindOf(err error) Kind {
	var f *Fault
	if errors.As(err, &f) {
		return f.Kind
	}
	return Other
}

// Wrong makes a Fault.
func Wrong(kind Kind, format string, args ...any) error {
	return &Fault{kind, fmt.Errorf(format, args...)}
}
