// Package release interrupts the signing of a whole release, files and images, in every
// way there is, and demands that nothing is lost, nothing unexplained is logged, and
// nothing half-signed passes. What signatures hold is left to other packages.
package release

import (
	"os"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }
