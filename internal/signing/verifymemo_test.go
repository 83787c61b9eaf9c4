package signing_test

import (
	"fmt"
	"testing"

	"sigstack/internal/signing"
)

// TestAProvenCertificateChangesNoVerdict damages a bundle here and there, and has it
// judged by a trust root that has proven its certificate before and by one that has not.
func TestAProvenCertificateChangesNoVerdict(t *testing.T) {
	warm, text, id := golden(t)
	if _, err := verifyGolden(warm, text, id); err != nil {
		t.Fatal(err)
	}
	passed := 0
	for i := 0; i < len(text); i += 11 {
		damaged := append([]byte{}, text...)
		damaged[i] ^= 1
		cold, _, _ := golden(t)
		want, wantErr := verifyGolden(cold, damaged, id)
		got, gotErr := verifyGolden(warm, damaged, id)
		if got != want || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
			t.Errorf("byte %d: got %v, %v; want %v, %v as without a memo", i, got, gotErr, want, wantErr)
		}
		if gotErr == nil {
			passed++
		}
	}
	if most := len(text) / 11 / 10; passed > most {
		t.Errorf("%d damaged bundles passed, want at most %d: those damaged where nothing is said", passed, most)
	}
}

func verifyGolden(trusted *signing.TrustRoot, text []byte, id *signing.Identity) (signing.Result, error) {
	b, err := signing.ParseBundle(text)
	if err != nil {
		return signing.Result{}, err
	}
	return signing.VerifyDigest(digest(artifact), b, trusted, id)
}
