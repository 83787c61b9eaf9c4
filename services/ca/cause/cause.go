// Package cause names the checks that a token has to pass, gives each refusal its
// cause for programs, and lets somebody watch the checks (contract: ca.md §9). What
// is checked is left to the packages token, identity and policy.
package cause

import (
	"context"
	"maps"

	"sigstack/internal/fault"
)

// Check names a check.
type Check string

// The checks of a token, in the order in which they are made.
const (
	Form      Check = "form"
	Issuer    Check = "issuer"
	Audience  Check = "audience"
	Expiry    Check = "expiry"
	NotBefore Check = "not_before"
	Keys      Check = "issuer_keys"
	Signature Check = "signature"
	Identity  Check = "identity"
	Policy    Check = "policy"
)

// Checks returns every check in order.
func Checks() []Check {
	return []Check{Form, Issuer, Audience, Expiry, NotBefore, Keys, Signature, Identity, Policy}
}

// reason is what programs are told when a check fails, unless the error knows it
// more exactly.
func (c Check) reason() string {
	switch c {
	case Form:
		return "TOKEN_MALFORMED"
	case Issuer:
		return "ISSUER_UNKNOWN"
	case Audience:
		return "AUDIENCE_MISMATCH"
	case Expiry:
		return "TOKEN_EXPIRED"
	case NotBefore:
		return "TOKEN_NOT_YET_VALID"
	case Keys:
		return "ISSUER_UNAVAILABLE"
	case Signature:
		return "SIGNATURE_INVALID"
	case Identity:
		return "IDENTITY_REFUSED"
	case Policy:
		return "POLICY_REFUSED"
	default:
		panic("cause: unknown check " + string(c))
	}
}

// Facts are what a check compares. Expected and Found get out with a refusal, to
// whoever sent the token and to everybody who reads the log of its CI job. So what
// is expected comes from configuration and the clock, and of the token itself there
// are only sizes, counts, its times, and its algorithm if that is a registered one:
// no name of a person or project, and no text that its author could choose.
type Facts struct {
	Expected string
	Found    string // empty: nothing that may be told
	Said     string // the token's own words, for its holder alone; may be empty
}

// Step is the outcome of a check.
type Step struct {
	Check Check
	Facts
	Err error // nil: it passed
}

type traceKey struct{}

// Trace returns a context in which f is told the outcome of each check, up to the
// first that fails, in the goroutine that makes them.
func Trace(ctx context.Context, f func(Step)) context.Context {
	return context.WithValue(ctx, traceKey{}, f)
}

// Conclude ends a check: it tells the outcome to who traces it, and returns err,
// nil if the check has passed, with its cause for programs. facts is called only if
// anybody is told.
func Conclude(ctx context.Context, c Check, err error, facts func() Facts) error {
	trace, _ := ctx.Value(traceKey{}).(func(Step))
	if err == nil && trace == nil {
		return nil
	}
	step := Step{c, facts(), err}
	if err != nil {
		step.Err = explain(step)
	}
	if trace != nil {
		trace(step)
	}
	return step.Err
}

// explain gives a refusal what it lacks of reason and metadata.
func explain(step Step) error {
	detail, _ := fault.DetailOf(step.Err)
	if detail.Reason == "" {
		detail.Reason = step.Check.reason()
	}
	metadata := map[string]string{"check": string(step.Check), "expected": step.Expected}
	if step.Found != "" {
		metadata["found"] = step.Found
	}
	maps.Copy(metadata, detail.Metadata)
	detail.Metadata = metadata
	return fault.Because(step.Err, detail)
}
