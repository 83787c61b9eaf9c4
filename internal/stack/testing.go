package stack

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigstack/internal/config"
)

// loadConfig reads the configuration and refuses one that is not fit for its
// profile. What is only to be warned of is logged.
func (s *Stack) loadConfig() (*config.Config, error) {
	f, err := config.ReadFile(s.layout.Config())
	if err != nil {
		return nil, err
	}
	f.Add(s.layout.testing(f.Config)...)
	f.Add(s.layout.careless(f.Config)...)
	for _, p := range f.Problems {
		if p.Warning {
			s.opts.Log.Warn("check the configuration", slog.String("field", p.Field), slog.Int("line", p.Line), slog.String("problem", p.Message))
		}
	}
	return f.Config, f.Err()
}

// testMark is what stands in the names of test stacks' authorities.
const testMark = "TEST ONLY"

// testing finds what test stacks leave behind, in a directory of an operator's:
// files of one that were taken over, and keys that nobody encrypted. What cannot
// be read is no finding of its own, since nothing starts without it.
func (l Layout) testing(conf *config.Config) []config.Problem {
	if conf.Profile != config.ProfileServe {
		return nil
	}
	var out []config.Problem
	add := func(field, format string, args ...any) {
		out = append(out, config.Problem{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if found, err := exists(l.DemoUser()); found && err == nil {
		add("profile", "%s is a test stack's: make a stack with init, or remove that file if nothing else here is from a test", l.DemoUser())
	}
	for _, k := range conf.Keys() {
		if kind, err := l.pemType(k); err == nil && kind != "" && !strings.HasPrefix(kind, "ENCRYPTED ") {
			add(k.Field, "%s is not encrypted, as only test stacks' are: it must be taken for known to others", k.Name)
		}
	}
	for _, x := range namedChains(conf) {
		chain, err := l.chain(x.path)
		if i := slices.IndexFunc(chain, isTest); err == nil && i >= 0 {
			add(x.field, "%s has the certificate of a test stack, %q: make a stack with init", x.path, chain[i].Subject.CommonName)
		}
	}
	var plain []string
	for _, name := range l.offlineKeys() {
		if data, err := os.ReadFile(name); err == nil && !strings.Contains(string(data), "BEGIN ENCRYPTED ") {
			plain = append(plain, filepath.Base(name))
		}
	}
	if len(plain) > 0 {
		add("profile", "%s: %s: not encrypted, as only test stacks' root keys are", l.Offline(), strings.Join(plain, ", "))
	}
	return out
}

func isTest(c *x509.Certificate) bool {
	return strings.Contains(c.Subject.String(), testMark) || strings.Contains(c.Issuer.String(), testMark)
}

// offlineKeys are the files of root keys that are still beside those in use.
func (l Layout) offlineKeys() []string {
	names, err := filepath.Glob(filepath.Join(l.Offline(), "*.key"))
	if err != nil {
		return nil // the pattern is ours; a folder that is not there has no files
	}
	return names
}

// careless warns of what an operator ought to change.
func (l Layout) careless(conf *config.Config) []config.Problem {
	if conf.Profile != config.ProfileServe {
		return nil
	}
	var out []config.Problem
	if names := l.offlineKeys(); len(names) > 0 {
		out = append(out, config.Problem{Warning: true, Message: fmt.Sprintf(
			"%s still holds root keys: whoever takes this machine has them; move it to media that stay offline", l.Offline())})
	}
	return out
}
