package signing

import (
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/signature"
)

// verifyInclusion checks a Rekor v1 entry's inclusion proof and checkpoint.
func verifyInclusion(e *tlog.Entry, log *root.TransparencyLog) error {
	key, err := signature.LoadVerifier(log.PublicKey, log.SignatureHashFunc)
	if err != nil {
		return fmt.Errorf("load log key: %w", err)
	}
	return tlog.VerifyInclusion(e, key)
}
