// Package artifacts signs every kind of artifact that contract release-artifacts
// B3 names, in registries with and without the Referrers API, in both styles of
// storage, and has it verified, tampered with and refused.
package artifacts

import (
	"os"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }
