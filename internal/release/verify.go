package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"sigstack/internal/signing"
)

// VerifyConfig says what to verify and whom to trust.
type VerifyConfig struct {
	Dir      string // as Locate takes it
	Trusted  *signing.TrustRoot
	Identity *signing.Identity
	Workers  int            // files at once; 0: 16
	Progress func(Progress) // may be nil; one call at a time
	Images   ImagesConfig
}

// Kind classifies a problem of a tree.
type Kind string

// The kinds of problems.
const (
	Unsigned   Kind = "unsigned"   // a file that must be signed has no bundle, .sig or .cert
	Refused    Kind = "refused"    // the signature does not verify
	Checksum   Kind = "checksum"   // a checksum differs, or is missing or malformed
	Missing    Kind = "missing"    // listed in a checksum file, not there
	Unlisted   Kind = "unlisted"   // there, but nothing vouches for it
	Irregular  Kind = "irregular"  // a symlink, device or unusable name
	Unreadable Kind = "unreadable" // the file cannot be read, or the registry not asked
	Moved      Kind = "moved"      // the tag of an image points elsewhere
)

// Problem is one reason not to accept a tree.
type Problem struct {
	Path   string `json:"path"` // relative to the tree; of an image, a reference with its digest
	Kind   Kind   `json:"kind"`
	Detail string `json:"detail"`
}

// String renders the problem as one line.
func (p Problem) String() string { return fmt.Sprintf("%s: %s: %s", p.Path, p.Kind, p.Detail) }

// FileReport is the verdict on one file that is not itself a sidecar.
type FileReport struct {
	Path      string          `json:"path"`
	Size      int64           `json:"size"`
	Signature *signing.Result `json:"signature,omitempty"` // nil: not signed, or refused
	// Attestation is that of AttestationSuffix; nil: there is none, or it is refused.
	Attestation *Attestation `json:"attestation,omitempty"`
	// Attestations are those in the file of signing.AttestationsSuffix.
	Attestations []Attestation `json:"attestations,omitempty"`
	Problems     []Problem     `json:"problems,omitempty"`
}

// Report is the verdict on a tree.
type Report struct {
	Tree      string `json:"tree"`
	TrustRoot string `json:"trust_root"`
	// IssuerBacking is that of the issuer of the signatures that verified.
	IssuerBacking signing.IssuerBacking `json:"issuer_backing,omitempty"`

	Signed   int          `json:"signed"`   // files whose signature verified
	Bytes    int64        `json:"bytes"`    // of all files but sidecars
	Files    []FileReport `json:"files"`    // in walk order
	Problems []Problem    `json:"problems"` // all of them: the files', the images' and the tree's own

	ImagesList string        `json:"images_list,omitempty"` // "": no image was looked at
	Images     []ImageReport `json:"images,omitempty"`      // in the order of the list, each index before what it lists
}

// RefusedError says that a tree has problems.
type RefusedError struct {
	Tree     string
	Problems []Problem
}

// Error names the tree, the number of problems and the first few.
func (e *RefusedError) Error() string {
	const most = 5
	lines := make([]string, 0, most)
	for _, p := range e.Problems[:min(most, len(e.Problems))] {
		lines = append(lines, p.String())
	}
	more := ""
	if n := len(e.Problems) - len(lines); n > 0 {
		more = fmt.Sprintf("; and %d more", n)
	}
	return fmt.Sprintf("%s has %d problem(s): %s%s", e.Tree, len(e.Problems), strings.Join(lines, "; "), more)
}

// Err returns nil for an accepted tree and a *RefusedError otherwise.
func (r *Report) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	return &RefusedError{Tree: r.Tree, Problems: r.Problems}
}

// Verify checks a whole tree and reports every problem: each signed file against
// its bundle, .sig and .cert, each file against both checksum files and its own
// two, each listed file for being there, and that nothing else is. Signatures and
// checksums are judged independently. Of images it demands that each tag points at its
// digest, and that everything of the list and below is signed in every style. The error is for what kept it from judging;
// the verdict is Report.Err.
func Verify(ctx context.Context, c VerifyConfig) (_ *Report, err error) {
	dir, err := Locate(c.Dir)
	if err != nil {
		return nil, err
	}
	t, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	v := newVerification(t, c)
	if err := v.findImages(ctx); err != nil {
		return nil, fmt.Errorf("verify release: %w", err)
	}
	w := mix(v.bases, v.targets)
	err = each(ctx, w.items, c.Workers, c.Progress, func(ctx context.Context, i int, f file) error {
		if at := w.index[i] - len(v.bases); at >= 0 {
			return v.verifyImage(ctx, at, v.targets[at])
		}
		return v.verifyFile(ctx, w.index[i], f)
	})
	if err != nil {
		return nil, fmt.Errorf("verify release: %w", err)
	}
	return v.report(), nil
}

// verification is one run over a tree. After findImages only files[i] and images[i]
// change, each by the one worker that has file or image i.
type verification struct {
	VerifyConfig
	tree     *tree
	present  map[string]bool
	anybody  *signing.Identity
	sums     [2]*sumsFile // SHA256SUMS, SHA512SUMS
	bases    []file       // the files that are not sidecars, and checked one by one
	files    []FileReport // of bases
	problems []Problem    // of the tree as a whole

	list    string   // of images
	targets []target // the images that are there
	images  []ImageReport
}

func newVerification(t *tree, c VerifyConfig) *verification {
	v := &verification{VerifyConfig: c, tree: t, present: map[string]bool{}, anybody: newAnybody()}
	for _, f := range t.files {
		v.present[f.path] = true
	}
	for _, name := range t.odd {
		v.problem(name, Irregular, "neither a regular file nor a directory, or not a usable name")
	}
	for i, spec := range sumsSpecs() {
		v.sums[i] = v.loadSums(spec)
	}
	for _, f := range t.files {
		v.classify(f)
	}
	v.files = make([]FileReport, len(v.bases))
	return v
}

// classify decides whether f is checked by itself, goes with another file, or
// has no business here.
func (v *verification) classify(f file) {
	if v.listed(f.path) || unlistable(f.path) {
		v.bases = append(v.bases, f)
		return
	}
	for _, base := range sidecarOf(f.path) {
		if v.isBase(base) {
			return // checked with its base; a listed base that is missing is reported itself
		}
	}
	v.problem(f.path, Unlisted, "in neither checksum file, and neither a sidecar nor a file that may be outside them")
}

// isBase reports whether path is a file that may have sidecars.
func (v *verification) isBase(path string) bool {
	return v.listed(path) || unlistable(path) && v.present[path]
}

// listed reports whether a checksum file names path. One in only one of the two
// is checked like any other, which reports the gap.
func (v *verification) listed(path string) bool {
	for _, s := range v.sums {
		if _, ok := s.digests[path]; ok {
			return true
		}
	}
	return false
}

func (v *verification) problem(path string, kind Kind, detail string) {
	v.problems = append(v.problems, Problem{Path: path, Kind: kind, Detail: detail})
}

// verifyFile judges one file. Its error is the context's; everything else is a
// problem of the file.
func (v *verification) verifyFile(ctx context.Context, i int, f file) error {
	r := &v.files[i]
	r.Path, r.Size = f.path, f.size
	d, err := v.tree.digest(ctx, f.path)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.add(Unreadable, err.Error())
		return nil
	}
	v.checkSums(r, d)
	v.checkSignature(r, d)
	v.checkAttestation(r, d)
	return nil
}

func (r *FileReport) add(kind Kind, detail string) {
	r.Problems = append(r.Problems, Problem{Path: r.Path, Kind: kind, Detail: detail})
}

// checkSignature verifies the bundle beside a file and that .sig and .cert agree
// with it. A file that need not be signed may have no sidecar at all; one that it
// has must verify.
func (v *verification) checkSignature(r *FileReport, d digests) {
	sig, sigErr := v.sidecar(r, signing.SignatureSuffix)
	cert, certErr := v.sidecar(r, signing.CertificateSuffix)
	data, err := v.sidecar(r, signing.BundleSuffix)
	if sigErr != nil || certErr != nil || err != nil {
		return // reported by sidecar
	}
	if data == nil {
		if mustBeSigned(r.Path) || sig != nil || cert != nil {
			r.add(Unsigned, "no "+signing.BundleSuffix)
		}
		return
	}
	b, err := signing.ParseBundle(data)
	if err != nil {
		r.add(Refused, err.Error())
		return
	}
	if digest, ok := digestFor(b, d); ok {
		res, err := signing.VerifyDigest(digest, b, v.Trusted, v.Identity)
		if err != nil {
			r.add(Refused, err.Error())
		} else {
			r.Signature = &res
		}
	} else {
		r.add(Refused, "the bundle's digest is neither SHA-256 nor SHA-512")
	}
	v.checkLegacy(r, b, sig, cert)
}

// checkLegacy demands .sig and .cert of the files of A2; files with a bundle only
// may have them too, if they agree.
func (v *verification) checkLegacy(r *FileReport, b *signing.Bundle, sig, cert []byte) {
	if sig == nil && cert == nil && !(inSignedSet(r.Path) && mustBeSigned(r.Path)) {
		return
	}
	if sig == nil || cert == nil {
		r.add(Unsigned, "no "+signing.SignatureSuffix+" or no "+signing.CertificateSuffix)
		return
	}
	if err := signing.CheckSidecars(b, sig, cert); err != nil {
		r.add(Refused, err.Error())
	}
}

func digestFor(b *signing.Bundle, d digests) ([]byte, bool) {
	switch _, algorithm := b.Digest(); algorithm {
	case "sha256":
		return d.sha256[:], true
	case "sha512":
		return d.sha512[:], true
	}
	return nil, false
}

// sidecar reads the file's sidecar of the given suffix, nil if there is none. A
// read error is reported and returned.
func (v *verification) sidecar(r *FileReport, suffix string) ([]byte, error) {
	if !v.present[r.Path+suffix] {
		return nil, nil
	}
	data, err := v.tree.read(r.Path+suffix, signing.MaxBundle)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		r.add(Unreadable, err.Error())
		return nil, err
	}
	if data == nil {
		data = []byte{} // empty is present, and malformed
	}
	return data, nil
}

// report gathers the verdict. Problems are in walk order after the tree's own.
func (v *verification) report() *Report {
	r := &Report{Tree: v.tree.dir, TrustRoot: v.Trusted.String(), Files: v.files, Problems: v.problems, ImagesList: v.list, Images: v.images}
	for _, s := range v.sums {
		r.Problems = append(r.Problems, s.missing(v.present)...)
	}
	for _, f := range v.files {
		r.Bytes += f.Size
		if f.Signature != nil {
			r.Signed++
			r.IssuerBacking = cmp.Or(r.IssuerBacking, f.Signature.IssuerBacking)
		}
		r.Problems = append(r.Problems, f.Problems...)
	}
	for _, image := range v.images {
		for _, p := range image.Signatures {
			r.IssuerBacking = cmp.Or(r.IssuerBacking, p.IssuerBacking)
		}
		r.Problems = append(r.Problems, image.Problems...)
	}
	return r
}
