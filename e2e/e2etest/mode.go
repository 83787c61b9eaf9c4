package e2etest

import (
	"fmt"
	"os"
)

// ModeVariable says how the stacks of all tests run: empty in plaintext, "tls"
// over TLS by an authority of their own, "split" likewise and in several
// processes.
const ModeVariable = "SIGSTACK_E2E_MODE"

type mode string

const (
	plaintext mode = ""
	overTLS   mode = "tls"
	split     mode = "split"
)

func currentMode() mode { return mode(os.Getenv(ModeVariable)) }

func (m mode) check() error {
	switch m {
	case plaintext, overTLS, split:
		return nil
	}
	return fmt.Errorf("%s is %q, want nothing, %q or %q", ModeVariable, m, overTLS, split)
}

// upArgs are what the mode adds to `sigstack up`: fresh is a directory that up
// has yet to make.
func (m mode) upArgs(fresh bool) []string {
	var args []string
	if m != plaintext && fresh {
		args = append(args, "--tls")
	}
	if m == split {
		args = append(args, "--split")
	}
	return args
}

// OverTLS tells whether stacks speak TLS.
func OverTLS() bool { return currentMode() != plaintext }

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
