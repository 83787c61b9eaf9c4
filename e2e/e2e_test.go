// Package e2e tests the built program as its users meet it: crashes, bad input,
// the README, and what cosign makes of it. Logins, the matrix of clients and the
// ways of cheating have packages of their own below.
package e2e

import (
	"os"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }
