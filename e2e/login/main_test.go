// Package login holds every client to logging in through a real browser, with
// the stack's own users, a real directory, an outside provider and a CI system.
package login

import (
	"os"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }
