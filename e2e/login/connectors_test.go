package login

import (
	"os"
	"path/filepath"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/internal/config"
)

// configure makes a stack's directory, edits the issuer's configuration as an operator
// does, between a stop and a start, and returns it running.
func configure(t *testing.T, edit func(s *e2etest.Stack, c *config.Config)) *e2etest.Stack {
	t.Helper()
	s := e2etest.Start(t, t.TempDir())
	s.Stop()
	path := filepath.Join(s.ServiceDir("oidc"), "config.yaml")
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	edit(s, c)
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "config", "check", path)
	return e2etest.Start(t, s.Dir)
}

// choose is the link to a connector on the page that offers several.
func choose(connector string) string { return "#connector-" + connector }
