package e2etest

import (
	"fmt"
	"os"
)

// ModeVariable says how the stacks of all tests run: empty in plaintext, "tls"
// over TLS by an authority of their own, "split" likewise and in several
// processes, "postgres" in plaintext as two replicas on a PostgreSQL database.
const ModeVariable = "SIGSTACK_E2E_MODE"

type mode string

const (
	plaintext mode = ""
	overTLS   mode = "tls"
	split     mode = "split"
	postgres  mode = "postgres"
)

func currentMode() mode { return mode(os.Getenv(ModeVariable)) }

func (m mode) check() error {
	switch m {
	case plaintext, overTLS, split, postgres:
		return nil
	}
	return fmt.Errorf("%s is %q, want nothing, %q, %q or %q", ModeVariable, m, overTLS, split, postgres)
}

// upArgs are what the mode adds to `sigstack up`: fresh is a directory that up
// has yet to make.
func (m mode) upArgs(fresh bool) []string {
	var args []string
	if OverTLS() && fresh {
		args = append(args, "--tls")
	}
	if m == split {
		args = append(args, "--split")
	}
	return args
}

// OverTLS tells whether stacks speak TLS.
func OverTLS() bool { return currentMode() == overTLS || currentMode() == split }

// OnReplicas tells whether stacks are two replicas on a database.
func OnReplicas() bool { return currentMode() == postgres }

// Scheme is that of the stacks' URLs.
func Scheme() string {
	if OverTLS() {
		return "https"
	}
	return "http"
}

// DefaultPort is the one that URLs of the stacks need not name.
func DefaultPort() string {
	if OverTLS() {
		return "443"
	}
	return "80"
}
