// Package signedset judges the signed set of a release (contract release-artifacts
// §A2): each kind of file, right and with one fact wrong, by sigstack and by both
// versions of cosign, from the files beside it and from its bundle.
package signedset

import (
	"os"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }
