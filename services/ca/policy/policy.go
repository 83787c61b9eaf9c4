// Package policy decides by an issuer's own rules which verified tokens are good
// for a certificate. Rules are conditions on claims in CEL (the Common Expression
// Language); what a token must have without any rule is left to the packages
// token and identity.
package policy

import (
	"errors"
	"fmt"

	// The payload was read with this fork, whose numbers they are.
	"github.com/go-jose/go-jose/v4/json"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
)

// maxRules bounds the rules of one issuer.
const maxRules = 32

// Rule is a condition that claims have to meet.
type Rule struct {
	// Name tells the rule from the issuer's others: lower-case letters, digits and
	// hyphens, at most 64.
	Name string
	// Expression is CEL of type bool, at most 2048 characters, over `claims` (a map of
	// every claim by name), `issuer` and `subject` (iss and sub). Whole numbers are
	// ints. It has CEL's standard functions and macros but those that read the parts
	// of a timestamp, which would load a time zone that a claim names.
	Expression string
	// Message tells whoever is refused what to do: at most 256 bytes of one line, and
	// not empty.
	Message string
}

// Policy is an issuer's rules. It is safe for concurrent use.
type Policy struct{ rules []rule }

// Compile checks rules and returns their policy. The error joins everything that
// is wrong with them, a line each that begins with the rule.
func Compile(rules []Rule) (*Policy, error) {
	if len(rules) > maxRules {
		return nil, fmt.Errorf("there are %d rules, at most %d are allowed", len(rules), maxRules)
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	p, problems, names := &Policy{}, []error(nil), map[string]bool{}
	for i, r := range rules {
		compiled, err := compile(env, r)
		if err == nil && names[r.Name] {
			err = errors.New("another rule has this name")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("rule %s: %w", called(r, i), err))
			continue
		}
		names[r.Name] = true
		p.rules = append(p.rules, compiled)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return p, nil
}

// called is a rule's name, or its place if that is none.
func called(r Rule, i int) string {
	if validName.MatchString(r.Name) {
		return r.Name
	}
	return fmt.Sprintf("number %d", i+1)
}

// Check refuses claims that do not meet every rule, with fault.Invalid. The error
// names the first that they do not meet, and its message; it never repeats what a
// claim holds.
func (p *Policy) Check(c identity.Claims) error {
	if len(p.rules) == 0 {
		return nil
	}
	vars, err := variables(c)
	if err != nil {
		return err
	}
	for _, r := range p.rules {
		if d := r.decide(vars); !d.Holds {
			return d.refusal()
		}
	}
	return nil
}

// Decide returns what each rule says of claims, in their order: of all of them,
// where Check stops at the first that does not hold.
func (p *Policy) Decide(c identity.Claims) ([]Decision, error) {
	vars, err := variables(c)
	if err != nil {
		return nil, err
	}
	decisions := make([]Decision, len(p.rules))
	for i, r := range p.rules {
		decisions[i] = r.decide(vars)
	}
	return decisions, nil
}

// Decision is what one rule says.
type Decision struct {
	Rule    string // its name
	Holds   bool
	Message string // the rule's; "" if it holds
	// Failed says why the rule could not be evaluated, which refuses, too; "" if it
	// could. It names claims, and never what they hold.
	Failed string
}

func (d Decision) refusal() error {
	how := "refuses the token"
	if d.Failed != "" {
		how = "cannot be decided, because " + d.Failed
	}
	return fault.Because(
		fault.Newf(fault.Invalid, "rule %s of the issuer's policy %s: %s", d.Rule, how, d.Message),
		fault.Detail{Reason: "POLICY_REFUSED", Metadata: d.metadata()})
}

func (d Decision) metadata() map[string]string {
	m := map[string]string{"check": "policy", "rule": d.Rule, "message": d.Message}
	if d.Failed != "" {
		m["failed"] = d.Failed
	}
	return m
}

// variables are what expressions see of claims.
func variables(c identity.Claims) (map[string]any, error) {
	claims, err := c.Values()
	if err != nil {
		return nil, err
	}
	return map[string]any{"claims": native(claims), "issuer": c.Issuer, "subject": c.Subject}, nil
}

// native replaces JSON's numbers, in place, by those that CEL counts with.
func native(value any) any {
	switch v := value.(type) {
	case json.Number:
		return number(v)
	case []any:
		for i := range v {
			v[i] = native(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = native(v[name])
		}
	}
	return value
}

// number is an int, as long as it is one, or the nearest double.
func number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return i
	}
	f, _ := n.Float64() // valid by JSON's grammar; beyond the range it is infinite
	return f
}
