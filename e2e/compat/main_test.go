// Package compat holds the matrix of clients: each signs, each verifies, each
// kind of signature, under every pair of settings. What cannot work is a cell
// too, and fails once it works.
package compat

import (
	"os"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }
