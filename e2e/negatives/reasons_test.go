package negatives

import (
	"maps"

	"sigstack/internal/signing"
)

// reasons are what must stand in the reason that each gives.
type reasons map[who][]string

// What the library that cosign is made with says of many things, and sigstore-js.
const (
	noSCT       = "only able to verify 0 SCT entries"
	noEntry     = "not enough verified log entries from transparency log: 0"
	noTimestamp = "threshold not met for verified signed timestamps: 0"

	notAnEntry = "entry body is not a recognizable Rekor v1 or Rekor v2 type"

	badPromise   = "inclusion promise could not be verified"
	badTimestamp = "timestamp could not be verified"
)

// notABundle is what cosign 3 says of what it cannot read as a bundle: it takes it
// for one of cosign's own.
const notABundle = "--trusted-root only supported with --new-bundle-format"

// What cosign says of TUF metadata. When an update fails, cosign 2 goes on without
// a trusted root, and keeps the cause to itself.
const (
	noThreshold = "valid signatures did not meet threshold"
	noRoot      = "trusted root is required when using new bundle format"
)

// badAnnotation is cosign's word for all of them.
const badAnnotation = "missing or incorrect annotation"

// by is for what all verifiers refuse: sigstack at a check, both versions of
// cosign in one library's words, sigstore-js in its own.
func by(check signing.Check, cosign, js string) reasons {
	return reasons{bySigstack: {refusedAt(check)}, byCosign3: {cosign}, byCosign2: {cosign}, byJS: {js}}
}

// byImageVerifiers is by for images, which sigstore-js does not verify. sigstack
// names the signature that it refuses.
func byImageVerifiers(check signing.Check, cosign string) reasons {
	return reasons{bySigstack: {"sigstack: refused: ", " passed; found 1: " + string(check) + ": "}, byCosign3: {cosign}, byCosign2: {cosign}}
}

// but is r with another reason of one.
func (r reasons) but(by who, words string) reasons {
	r = maps.Clone(r)
	r[by] = []string{words}
	return r
}

// not is r without those who accept.
func (r reasons) not(accept ...who) reasons {
	r = maps.Clone(r)
	for _, by := range accept {
		delete(r, by)
	}
	return r
}

// refusedAt is how sigstack names the check that failed.
func refusedAt(check signing.Check) string { return "sigstack: refused: " + string(check) + ": " }

// byTUF is by for metadata and targets of a TUF repository.
func byTUF(cosign, js string) reasons {
	return reasons{bySigstack: {refusedAt(signing.CheckTUF)}, byCosign3: {cosign}, byCosign2: {cosign}, byJS: {js}}
}
