// Package explain tells, check by check, why a certificate authority would take a
// token or refuse it, and what the certificate would say. The checks are the
// authority's own, those of the packages token, identity and policy.
package explain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"sigstack/internal/fault"
	"sigstack/services/ca/cause"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/policy"
	"sigstack/services/ca/token"
)

// Config says by what a token is judged.
type Config struct {
	Issuers []identity.Issuer // those of the authority
	// Policies of issuers that have one. Token, whose Policy counts alone, does not
	// tell which rules hold.
	Policies map[Key]*policy.Policy
	// Published: the issuers are what an authority publishes of them. Rules and the
	// metadata of CI systems are not in it, and are not checked.
	Published bool
	// Backed are URLs of published issuers whose keys are the authority's operator's
	// word, and known to nobody here.
	Backed []string
	// Offline asks no issuer for its keys: only signatures by fixed keys are checked.
	Offline bool
	Now     func() time.Time
	Log     *slog.Logger
}

// Key tells the issuers of a configuration apart.
type Key struct{ URL, ClientID string }

// Outcome of a check.
type Outcome string

// The outcomes. What was skipped was not asked for, or cannot be known here.
const (
	Pass       Outcome = "pass"
	Fail       Outcome = "fail"
	Skipped    Outcome = "skipped"
	NotReached Outcome = "not_reached"
)

// Report is the explanation. It holds what claims say, for whoever holds the token,
// and never the token or its signature.
type Report struct {
	// Accepted: every check has passed or was skipped.
	Accepted bool `json:"accepted"`
	// Complete: none was skipped.
	Complete bool    `json:"complete"`
	Issuer   *Issuer `json:"issuer,omitempty"` // nil: none was found
	Checks   []Check `json:"checks"`           // each of cause.Checks, in order
	Rules    []Rule  `json:"rules,omitempty"`  // nil: the policy was not reached, or is none
	// Certificate is what would be issued; nil: nothing.
	Certificate *Certificate `json:"certificate,omitempty"`
}

// Issuer is that of the configuration which the token belongs to.
type Issuer struct {
	URL           string `json:"url"`
	ClientID      string `json:"client_id"`
	Type          string `json:"type"`
	LocallyBacked bool   `json:"locally_backed"` // its keys come from the authority's operator
}

// Check is one check and what came of it.
type Check struct {
	Name     cause.Check       `json:"check"`
	Outcome  Outcome           `json:"outcome"`
	Expected string            `json:"expected,omitempty"`
	Found    string            `json:"found,omitempty"`
	Said     string            `json:"token_says,omitempty"`
	Message  string            `json:"message,omitempty"` // why it failed or was skipped
	Reason   string            `json:"reason,omitempty"`  // as in error details
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Rule is one of the issuer's rules and what it decides.
type Rule struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	Message string  `json:"message,omitempty"`
	Failed  string  `json:"failed,omitempty"` // why it could not be decided
}

// Token explains what becomes of a token. An error says that it could not be
// found out, not that the token is refused.
func Token(ctx context.Context, cfg Config, raw string) (*Report, error) {
	verifier, err := token.New(token.Config{Issuers: cfg.Issuers, Now: cfg.Now, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	j := &judgement{cfg: cfg, steps: map[cause.Check]Check{}, report: &Report{}}
	err = j.judge(cause.Trace(ctx, j.record), verifier, raw)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("explain token: %w", ctx.Err())
	case err != nil && !j.failed:
		return nil, err
	}
	return j.finish(), nil
}

// judgement gathers what the checks tell.
type judgement struct {
	cfg    Config
	steps  map[cause.Check]Check
	failed bool // one of them
	report *Report
}

func (j *judgement) record(step cause.Step) {
	c := Check{Name: step.Check, Outcome: Pass, Expected: step.Expected, Found: step.Found, Said: step.Said}
	if step.Err != nil {
		j.failed = true
		c.Outcome, c.Message = Fail, fault.Public(step.Err)
		detail, _ := fault.DetailOf(step.Err)
		c.Reason, c.Metadata = detail.Reason, detail.Metadata
	}
	j.steps[step.Check] = c
}

func (j *judgement) skip(c cause.Check, why string) {
	j.steps[c] = Check{Name: c, Outcome: Skipped, Message: why}
}

// judge makes the authority's checks in its order.
func (j *judgement) judge(ctx context.Context, verifier *token.Verifier, raw string) error {
	claimed, err := verifier.Inspect(ctx, raw)
	if err != nil {
		return err
	}
	by := claimed.Issuer
	backed := slices.Contains(j.cfg.Backed, by.URL)
	j.report.Issuer = &Issuer{by.URL, by.ClientID, string(by.Type), by.LocallyBacked() || backed}
	switch {
	case backed:
		j.skip(cause.Keys, "locally backed: the authority may have other keys for it than the issuer itself, and does not publish them")
		j.skip(cause.Signature, "without the authority's keys anybody could have made this token")
	case j.cfg.Offline && by.Keys == nil:
		j.skip(cause.Keys, "offline: the issuer was not asked")
		j.skip(cause.Signature, "offline: anybody could have made this token")
	default:
		if _, err := verifier.Verify(ctx, raw); err != nil {
			return err
		}
	}
	who, err := j.principal(ctx, claimed)
	if err != nil {
		return err
	}
	if err := j.policy(ctx, claimed); err != nil || who == nil {
		return err
	}
	j.report.Certificate, err = newCertificate(*who, by)
	return err
}

// principal returns nil if nobody here knows who the token speaks for.
func (j *judgement) principal(ctx context.Context, t token.Token) (*identity.Principal, error) {
	if j.cfg.Published && t.Issuer.Type == identity.CIProviderType {
		j.skip(cause.Identity, "the authority does not publish what it makes of a CI system's claims")
		return nil, nil
	}
	who, err := t.Principal(ctx)
	if err != nil {
		return nil, err
	}
	return &who, nil
}

func (j *judgement) policy(ctx context.Context, t token.Token) error {
	if j.cfg.Published {
		j.skip(cause.Policy, "the authority does not publish its issuers' rules")
		return nil
	}
	if p := j.cfg.Policies[Key{t.Issuer.URL, t.Issuer.ClientID}]; p != nil {
		decisions, err := p.Decide(t.Claims)
		if err != nil {
			return fmt.Errorf("decide rules: %w", err)
		}
		for _, d := range decisions {
			r := Rule{Name: d.Rule, Outcome: Pass, Message: d.Message, Failed: d.Failed}
			if !d.Holds {
				r.Outcome = Fail
			}
			j.report.Rules = append(j.report.Rules, r)
		}
	}
	return t.CheckPolicy(ctx)
}

// finish puts the checks in order, those that were not reached among them.
func (j *judgement) finish() *Report {
	j.report.Accepted, j.report.Complete = !j.failed, true
	for _, name := range cause.Checks() {
		c, made := j.steps[name]
		if !made {
			c = Check{Name: name, Outcome: NotReached}
		}
		j.report.Complete = j.report.Complete && c.Outcome != Skipped
		j.report.Checks = append(j.report.Checks, c)
	}
	return j.report
}

// Unsigned reports whether the token's signature was not checked: what is accepted
// then may be anybody's.
func (r *Report) Unsigned() bool {
	return slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Name == cause.Signature && c.Outcome == Skipped })
}

// Failed returns the check that failed.
func (r *Report) Failed() (Check, error) {
	for _, c := range r.Checks {
		if c.Outcome == Fail {
			return c, nil
		}
	}
	return Check{}, errors.New("no check has failed")
}
