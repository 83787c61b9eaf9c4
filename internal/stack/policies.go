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
	var rules []policy.Rule
	for _, r := range iss.Policy {
		rules = append(rules, policy.Rule{Name: r.Name, Expression: r.Expression, Message: cmp.Or(r.Message, r.Name)})
	}
	p, err := policy.Compile(rules)
	if err != nil {
		return nil, fmt.Errorf("issuer %s: policy: %w", iss.URL, err)
	}
	return p, nil
}

// checkPolicies compiles the rules of every issuer, each by itself, so that each
// mistake is told at its line. What the configuration found itself is not told
// again.
func checkPolicies(conf *config.Config) []config.Problem {
	var list []config.Problem
	for i, iss := range conf.TokenIssuers() {
		for j, r := range iss.Policy {
			if r.Name == "" || r.Expression == "" {
				continue
			}
			alone := config.Issuer{Policy: []config.PolicyRule{r}}
			if _, err := policyOf(alone); err != nil {
				list = append(list, config.Problem{
					Field: fmt.Sprintf("%s[%d].policy[%d]", conf.TokenIssuersField(), i, j), Message: err.Error(),
				})
			}
		}
	}
	return list
}
