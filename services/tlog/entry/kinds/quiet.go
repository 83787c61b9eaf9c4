package kinds

import (
	rekorlog "github.com/sigstore/rekor/pkg/log"
	"go.uber.org/zap"
)

// The library makes itself a logger when it is linked, for developers and on
// standard error, and has the parts of it that verifiers use write there, too. It
// lets nobody pass in another, so that this one is emptied in its place, before
// anything can have been written: what is worth knowing is in errors.
var _ = silence()

func silence() bool {
	*rekorlog.Logger = *zap.NewNop().Sugar()
	return true
}
