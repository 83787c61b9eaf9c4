package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"time"

	"sigstack/internal/signing"
)

// SignConfig says what to sign and as whom.
type SignConfig struct {
	Dir      string // as Locate takes it
	Session  *signing.Session
	Workers  int            // files at once; 0: 16
	Progress func(Progress) // may be nil; one call at a time
	// Journal is the file that explains every entry that a run makes in the log; "": the
	// tree's name with JournalSuffix.
	Journal string
	Now     func() time.Time // stamps the journal
	Images  ImagesConfig
}

// SignReport says what a run did.
type SignReport struct {
	Tree      string `json:"tree"`
	TrustRoot string `json:"trust_root"` // that every signature was checked against
	Identity  string `json:"identity"`
	Issuer    string `json:"issuer"`
	Signed    int    `json:"signed"`  // by this run
	Resumed   int    `json:"resumed"` // of them with a signature that an interrupted run had made
	Skipped   int    `json:"skipped"` // signed before, and verified again
	Bytes     int64  `json:"bytes"`   // of the files, signed or skipped
	Journal   string `json:"journal"`

	ImagesList string        `json:"images_list,omitempty"` // "": there were no images
	Images     []SignedImage `json:"images,omitempty"`      // in the order of the list, each index before what it lists
}

// Sign signs every file of the signed set (see Signable) and writes the sidecars
// beside it, each atomically and only once the signature has been verified. A
// file signed before is verified instead; one whose sidecars do not verify, are
// by somebody else, or were not made here stops the run and is left as it is. A
// run that was interrupted is finished by the next: a signature that it had made, and
// maybe entered in the log, is submitted again while its certificate lives. The error
// matches ErrJournalInUse while another run is at the tree.
//
// The images of a release are signed by digest in the same run and in the same manner: each
// of the list, and whatever is below an index, in the index's repository.
func Sign(ctx context.Context, c SignConfig) (_ *SignReport, err error) {
	if c.Session == nil || c.Now == nil {
		return nil, errors.New("sign release: no session or no clock given")
	}
	dir, err := Locate(c.Dir)
	if err != nil {
		return nil, err
	}
	t, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if c.Journal == "" {
		c.Journal = dir + JournalSuffix
	}
	j, err := openJournal(c.Journal)
	if err != nil {
		return nil, fmt.Errorf("sign release: %w", err)
	}
	defer func() { err = errors.Join(err, j.close()) }()
	if err := t.sweep(); err != nil {
		return nil, err
	}
	s, err := newSigning(ctx, t, j, c)
	if err != nil {
		return nil, err
	}
	w := mix(s.files, s.targets)
	err = each(ctx, w.items, c.Workers, c.Progress, func(ctx context.Context, i int, f file) error {
		if at := w.index[i] - len(s.files); at >= 0 {
			return s.signImage(ctx, at, s.targets[at])
		}
		return s.signFile(ctx, w.index[i], f)
	})
	// What is finished is kept, whatever became of the rest.
	if err := errors.Join(err, s.sidecars.commit()); err != nil {
		return nil, fmt.Errorf("sign release: %w", err)
	}
	return s.report(), nil
}

// run is one run of Sign. After newSigning only skipped[i], resumed[i] and images[i] change,
// each by the one worker that has file or image i.
type run struct {
	SignConfig
	tree            *tree
	journal         *journal
	sidecars        *sidecars
	subject, issuer string
	identity        *signing.Identity // exactly the session's
	sums            map[string][]byte // SHA256SUMS
	present         map[string]bool
	files           []file // to sign
	skipped         []bool
	resumed         []bool

	list    string   // of images
	targets []target // images to sign
	images  []SignedImage

	statements *statements
}

func newSigning(ctx context.Context, t *tree, j *journal, c SignConfig) (*run, error) {
	if len(t.odd) > 0 {
		return nil, fmt.Errorf("sign release: %s is neither a regular file nor a directory, or not a usable name", t.odd[0])
	}
	r := &run{
		SignConfig: c, tree: t, journal: j, sidecars: newSidecars(t.dir, c.Now),
		sums: map[string][]byte{}, present: map[string]bool{},
	}
	for _, f := range t.files {
		r.present[f.path] = true
		if Signable(f.path) {
			r.files = append(r.files, f)
		}
	}
	r.skipped, r.resumed = make([]bool, len(r.files)), make([]bool, len(r.files))
	data, err := t.read(SHA256Sums, maxSums)
	if err != nil {
		return nil, fmt.Errorf("sign release: read checksums, which are made before signatures: %w", err)
	}
	sums, err := ParseSums(data, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("sign release: %s: %w", SHA256Sums, err)
	}
	for _, sum := range sums {
		r.sums[sum.Path] = sum.Digest
	}
	if r.subject, r.issuer, err = c.Session.Identity(ctx); err != nil {
		return nil, fmt.Errorf("sign release: %w", err)
	}
	if r.identity, err = signing.NewIdentity(r.subject, "", r.issuer, ""); err != nil {
		return nil, err
	}
	return r, r.findImages(ctx)
}

// findImages looks up what images there are to sign. One that would not verify, like one
// whose tag is elsewhere, is not signed either.
func (r *run) findImages(ctx context.Context) error {
	list, images, err := r.Images.load(r.tree.dir)
	if err != nil {
		return fmt.Errorf("sign release: %w", err)
	}
	targets, problems, err := findTargets(ctx, r.Images.Registry, images, r.Workers)
	if err != nil {
		return fmt.Errorf("sign release: %w", err)
	}
	if len(problems) > 0 {
		return fmt.Errorf("sign release: %s; nothing was signed: push the image again or correct %s, or see to the registry, then run the same command again", problems[0], list)
	}
	r.list, r.targets, r.images, r.statements = list, targets, make([]SignedImage, len(targets)), newStatements(targets)
	return nil
}

// signFile signs one file, or verifies that it is signed.
func (r *run) signFile(ctx context.Context, i int, f file) error {
	d, err := r.tree.sha256(ctx, f.path)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if err := r.checkListed(f.path, d); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if r.present[f.path+signing.BundleSuffix] {
		r.skipped[i] = true
		if err := r.keep(f.path, d); err != nil {
			return fmt.Errorf("%s: signed already, but %w; nothing was changed: remove its sidecars to sign it anew", f.path, err)
		}
		return nil
	}
	for _, suffix := range []string{signing.SignatureSuffix, signing.CertificateSuffix} {
		if r.present[f.path+suffix] {
			return fmt.Errorf("%s: has a %s of another signer and no bundle; nothing was changed: remove it to sign the file anew", f.path, suffix)
		}
	}
	signed, err := r.signature(ctx, i, f, d)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if err := r.sidecars.write(f.path, signing.BundleSuffix, signed.JSON); err != nil {
		return err
	}
	if err := r.writeLegacy(f.path, signed.Bundle); err != nil {
		return err
	}
	return r.sidecars.commitSome()
}

// signature is the one that an interrupted run made of the same bytes, if it can still
// be submitted, or a new one. The journal has it before any service.
func (r *run) signature(ctx context.Context, i int, f file, digest [sha256.Size]byte) (*signing.Signed, error) {
	if draft, ok := r.journal.last[f.path]; ok && draft.Digest == digest {
		signed, err := r.Session.Submit(ctx, draft)
		if !errors.Is(err, signing.ErrSpent) && !errors.Is(err, signing.ErrOtherSigner) {
			r.resumed[i] = err == nil
			return signed, err
		}
	}
	draft, err := r.Session.DraftDigest(ctx, digest)
	if err != nil {
		return nil, err
	}
	line := JournalLine{
		At: r.Now().UTC(), Path: f.path, SHA256: hex.EncodeToString(draft.Digest[:]),
		Signature: draft.Signature, Certificate: string(draft.Verifier),
	}
	if err := r.journal.note(line); err != nil {
		return nil, err
	}
	return r.Session.Submit(ctx, draft)
}

// checkListed keeps a damaged file from being signed: a signature would vouch for
// the damage, and the tree would never verify.
func (r *run) checkListed(name string, digest [sha256.Size]byte) error {
	want, ok := r.sums[name]
	switch {
	case ok && string(want) != string(digest[:]):
		return fmt.Errorf("its checksum is not the one in %s; make the checksums again, or the file", SHA256Sums)
	case !ok && !unlistable(name):
		return fmt.Errorf("it is not listed in %s; make the checksums again, or remove it", SHA256Sums)
	}
	return nil
}

// keep verifies the sidecars of a file signed before, and completes them if a
// run was interrupted between the bundle and the others.
func (r *run) keep(name string, digest [sha256.Size]byte) error {
	data, err := r.tree.read(name+signing.BundleSuffix, signing.MaxBundle)
	if err != nil {
		return fmt.Errorf("read bundle: %w", err)
	}
	b, err := signing.ParseBundle(data)
	if err != nil {
		return err
	}
	if _, err := signing.VerifyDigest(digest[:], b, r.Session.Trusted(), r.identity); err != nil {
		return err
	}
	return r.writeLegacy(name, b)
}

// writeLegacy writes .sig and .cert from the bundle where they are called for and
// missing; those that exist must agree with it.
func (r *run) writeLegacy(name string, b *signing.Bundle) error {
	if bundleOnly(name) {
		return nil
	}
	sig, err := r.writeOrRead(name, signing.SignatureSuffix, signing.EncodeSignature(b.Signature()))
	if err != nil {
		return err
	}
	cert, err := r.writeOrRead(name, signing.CertificateSuffix, signing.EncodeCertificate(b.Certificate()))
	if err != nil {
		return err
	}
	return signing.CheckSidecars(b, sig, cert)
}

// writeOrRead writes data to a sidecar that does not exist, and returns the content
// that it has then.
func (r *run) writeOrRead(name, suffix string, data []byte) ([]byte, error) {
	if r.present[name+suffix] {
		return r.tree.read(name+suffix, signing.MaxBundle)
	}
	return data, r.sidecars.write(name, suffix, data)
}

func (r *run) report() *SignReport {
	out := &SignReport{
		Tree: r.tree.dir, TrustRoot: r.Session.Trusted().String(),
		Identity: r.subject, Issuer: r.issuer, Journal: r.Journal,
		ImagesList: r.list, Images: r.images,
	}
	for i, f := range r.files {
		out.Bytes += f.size
		if r.skipped[i] {
			out.Skipped++
		} else {
			out.Signed++
		}
		if r.resumed[i] {
			out.Resumed++
		}
	}
	return out
}

// strayPattern matches the temporary files that durable leaves behind when a run
// is killed while writing a sidecar.
var strayPattern = regexp.MustCompile(`^\..+(\.sig|\.cert|\.sigstore\.json)\.tmp-[0-9]+$`)

// sweep removes what a killed run left behind; it would be signed otherwise. No other run
// may be at the tree.
func (t *tree) sweep() error {
	var kept []file
	for _, f := range t.files {
		if !strayPattern.MatchString(path.Base(f.path)) {
			kept = append(kept, f)
			continue
		}
		if err := t.root.Remove(filepath.FromSlash(f.path)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove leftover of an interrupted run: %w", err)
		}
	}
	t.files = kept
	return nil
}
