package stack

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigstack/internal/config"
	"sigstack/services/oidc"
)

// CheckConfig reports what is wrong in conf beyond what its own Validate knows:
// settings of connectors, which depend on their type. It reads no file of a
// secret and asks no network.
func CheckConfig(conf *config.Config) error {
	if problems := checkConnectors(conf); len(problems) > 0 {
		return &config.Invalid{Problems: problems}
	}
	return nil
}

// checkConnectors finds every problem of the connectors' settings.
func checkConnectors(conf *config.Config) []config.Problem {
	if conf.OIDC == nil {
		return nil
	}
	var out []config.Problem
	for i, c := range conf.OIDC.Connectors {
		conns, err := Layout{}.connectors([]config.Connector{c}, func(string) (string, error) { return "unread", nil })
		err = errors.Join(err, oidc.CheckConnectors(conf.IssuerURL(), conns))
		out = append(out, connectorProblems(i, c, err)...)
	}
	return out
}

// connectorProblems gives each part of err the path of its setting.
func connectorProblems(i int, c config.Connector, err error) []config.Problem {
	var out []config.Problem
	for _, err := range parts(err) {
		text := strings.TrimPrefix(err.Error(), fmt.Sprintf("connector %q: ", c.ID))
		p := config.NewProblem(fmt.Sprintf("oidc.connectors[%d].%s", i, text))
		name, isConfig := strings.CutPrefix(p.Field, fmt.Sprintf("oidc.connectors[%d].config.", i))
		if _, isSecret := c.Secrets[name]; isConfig && isSecret {
			p.Field = fmt.Sprintf("oidc.connectors[%d].secrets.%s", i, name)
		}
		out = append(out, p)
	}
	return out
}

// parts takes joined errors apart.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, err := range joined.Unwrap() {
			out = append(out, parts(err)...)
		}
		return out
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// checkConnectorFiles looks at the files that connectors name.
func (l Layout) checkConnectorFiles(conf *config.Config) []config.Problem {
	if conf.OIDC == nil {
		return nil
	}
	var out []config.Problem
	for i, c := range conf.OIDC.Connectors {
		field := fmt.Sprintf("oidc.connectors[%d]", i)
		problems := l.checkNamed(field+".config", c.Config)
		for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
			if _, err := l.secret(c.Secrets[name]); err != nil {
				problems = append(problems, config.Problem{Field: field + ".secrets." + name, Message: err.Error()})
			}
		}
		if len(problems) == 0 && len(checkConnectors(&config.Config{URL: conf.URL, OIDC: &config.OIDC{Connectors: []config.Connector{c}}})) == 0 {
			conns, err := l.connectors([]config.Connector{c}, l.secret)
			problems = connectorProblems(i, c, errors.Join(err, oidc.TryConnectors(conf.IssuerURL(), conns)))
		}
		out = append(out, problems...)
	}
	return out
}

// checkNamed looks whether the files that settings name are there.
func (l Layout) checkNamed(field string, settings map[string]any) []config.Problem {
	var out []config.Problem
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		switch value := settings[key].(type) {
		case string:
			if value == "" || !slices.Contains(pathFields, strings.ToLower(key)) {
				continue
			}
			if err := readable(l.path(value)); err != nil {
				out = append(out, config.Problem{Field: field + "." + key, Message: err.Error()})
			}
		case map[string]any:
			out = append(out, l.checkNamed(field+"."+key, value)...)
		}
	}
	return out
}
