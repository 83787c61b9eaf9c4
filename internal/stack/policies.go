package stack

import (
	"cmp"
	"fmt"

	"sigstack/internal/config"
	"sigstack/services/ca/policy"
)

// policyOf compiles the rules of an issuer, nil if it has none.
func policyOf(iss config.Issuer) (*policy.Policy, error) {
	if len(iss.Policy) == 0 {
		return nil, nil
	}
	p, err := compileRules(iss.Policy)
	if err != nil {
		return nil, fmt.Errorf("issuer %s: policy: %w", iss.URL, err)
	}
	return p, nil
}

func compileRules(list []config.PolicyRule) (*policy.Policy, error) {
	var rules []policy.Rule
	for _, r := range list {
		rules = append(rules, policy.Rule{Name: r.Name, Expression: r.Expression, Message: cmp.Or(r.Message, r.Name)})
	}
	return policy.Compile(rules)
}

// checkPolicies compiles the rules of every issuer, each by itself, so that each
// mistake is told at its line, and those of an issuer that are too many. What the
// configuration finds by itself is not told again.
func checkPolicies(conf *config.Config) []config.Problem {
	var list []config.Problem
	for i, iss := range conf.TokenIssuers() {
		field := fmt.Sprintf("%s[%d].policy", conf.TokenIssuersField(), i)
		before := len(list)
		for j, r := range iss.Policy {
			if r.Name == "" || r.Expression == "" {
				continue
			}
			if _, err := compileRules(iss.Policy[j : j+1]); err != nil {
				list = append(list, config.Problem{Field: fmt.Sprintf("%s[%d]", field, j), Message: err.Error()})
			}
		}
		if len(list) > before || iss.Validate() != nil {
			continue
		}
		if _, err := compileRules(iss.Policy); err != nil {
			list = append(list, config.Problem{Field: field, Message: err.Error()})
		}
	}
	return list
}
