// Package publish holds what a stack is about to publish against the clients of
// others (contract trust-material §6.7): with the drafted files, and with no network
// but a loopback where the machine allows that.
package publish

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) {
	if code, ran := alone(); ran {
		os.Exit(code)
	}
	os.Exit(e2etest.Main(m))
}

// aloneVariable is set in the process that has no network.
const aloneVariable = "SIGSTACK_E2E_ALONE"

// alone runs this program once more where there is no network but a loopback of its
// own. Where this machine allows no such thing it does not run.
func alone() (code int, ran bool) {
	if os.Getenv(aloneVariable) != "" {
		return 0, false
	}
	const up = `ip link set lo up && exec "$0" "$@"`
	for _, unshare := range [][]string{{"-n"}, {"-rn"}} {
		shell := append([]string{"unshare"}, unshare...)
		if exec.Command(shell[0], append(shell[1:], "sh", "-c", up, "true")...).Run() != nil {
			continue
		}
		args := append(append(shell[1:], "sh", "-c", up), os.Args...)
		cmd := exec.Command(shell[0], args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), aloneVariable+"=1")
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1, true
		}
		return cmd.ProcessState.ExitCode(), true
	}
	return 0, false
}
