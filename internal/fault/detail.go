package fault

import "errors"

// Detail is an error's cause for programs, in the shape of google.rpc.ErrorInfo.
// It is as public as the sentence beside it.
type Detail struct {
	// Reason is one of a closed set: [A-Z][A-Z0-9_]+[A-Z0-9], at most 63 bytes.
	Reason string
	// Metadata says more; its keys are few, and known for each reason.
	Metadata map[string]string
}

// Because returns err, of whatever kind, with a cause for programs.
func Because(err error, d Detail) error {
	if e, ok := err.(*Error); ok { //nolint:errorlint // only err itself can be copied
		explained := *e
		explained.Detail = &d
		return &explained
	}
	return &Error{Kind: KindOf(err), Public: Public(err), Code: CodeOf(err), Err: err, Detail: &d, RetryAfter: RetryAfterOf(err)}
}

// DetailOf returns the cause that err tells programs: that of the outermost
// classified error, or of the next ones in it as long as they are of its kind,
// since an error that is classified anew no longer shows what it was.
func DetailOf(err error) (Detail, bool) {
	kind := KindOf(err)
	var e *Error
	for errors.As(err, &e) && e.Kind == kind {
		if e.Detail != nil {
			return *e.Detail, true
		}
		err = e.Err
	}
	return Detail{}, false
}
