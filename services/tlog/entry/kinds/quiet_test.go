package kinds_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/go-openapi/swag/conv"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
)

// TestQuiet: the library, linked in, writes nothing to standard error, not even
// where it has something to say. It is this test again, in a process of its own.
func TestQuiet(t *testing.T) {
	if os.Getenv("KINDS_QUIET") != "" {
		pe := &models.Rekord{APIVersion: conv.Pointer("no version"), Spec: object{}}
		if _, err := types.UnmarshalEntry(pe); err == nil { // which it logs
			t.Fatal("accepted")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestQuiet$")
	cmd.Env = append(os.Environ(), "KINDS_QUIET=1")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "PASS\n" {
		t.Errorf("%v, wrote %q", err, out)
	}
}
