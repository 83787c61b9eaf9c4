// Package audit keeps the audit record: JSON lines in files, each line bound to
// the one before by its hash and on disk before what it tells of is answered, with
// a signed head, and anchors in a transparency log. It holds the format, the
// writer and the verifier; what is recorded is the services' to say, and how a log
// is reached its caller's.
package audit

// Outcome is how an act ended.
type Outcome = string

// The outcomes.
const (
	OK      Outcome = "ok"      // done, and answered once this is on disk
	Refused Outcome = "refused" // the request was at fault, or not allowed
	Failed  Outcome = "failed"  // this process was at fault, or something it needs
)

// The actions that services record. Administrative acts are named admin.NAME by
// the admin channel.
const (
	ActionCertificate = "ca.certificate" // a certificate was issued, or refused
	ActionToken       = "oidc.token"     // an ID token was signed
	ActionLogin       = "oidc.login"     // somebody logged in, or failed to
	ActionAccess      = "access"         // a request to write lacked what section access asks for
	ActionStart       = "stack.start"
	ActionStop        = "stack.stop"
	ActionSplit       = "stack.split" // the directory was divided among processes: its last record
)

// The actions that the record itself records.
const (
	ActionBegin   = "audit.begin"   // the first record; its detail names the chain
	ActionAnchor  = "audit.anchor"  // a head is in a transparency log; the detail proves it
	ActionRecover = "audit.recover" // what a crash left behind was tidied up
	ActionResume  = "audit.resume"  // records could not be written for a while, and can again
)

// Actions returns every action but the administrative ones.
func Actions() []string {
	return []string{
		ActionCertificate, ActionToken, ActionLogin, ActionAccess, ActionStart, ActionStop, ActionSplit,
		ActionBegin, ActionAnchor, ActionRecover, ActionResume,
	}
}

// Event is what a service tells of one act. It never holds a token, a password or
// a key. Record makes every text fit for a line: what people cannot see is
// replaced, what is over MaxText bytes is cut, with a mark, and what looks like a
// token is taken out.
type Event struct {
	Action    string  // what was done: one of the Action constants, or a name like them
	Outcome   Outcome // OK, Refused or Failed
	Service   string  // ca, oidc, stack, admin, ...
	RequestID string  // of the HTTP request, "" without one
	Address   string  // of the client, "" without one
	Issuer    string  // of the verified token; "" unless verified
	Subject   string  // who it was for; "" unless verified
	// Detail holds what else is known, by names in snake_case; at most MaxDetail.
	Detail map[string]string
}

// Bounds of an event.
const (
	MaxText   = 1024 // bytes of one text
	MaxDetail = 24   // entries of Event.Detail
)
