package release

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
)

// PromotionPredicate is the predicate type of a promotion record (contract
// release-artifacts A3).
const PromotionPredicate = "https://k8s.io/promo-tools/promotion/v1"

// PromotionAnnotation says which version of which program promoted an image. Without an
// annotation that differs, cosign takes the signature of staging for its own.
const PromotionAnnotation = "org.kubernetes.kpromo.version"

// PromoteConfig says which images go where, and who vouches for them.
type PromoteConfig struct {
	Images      []Image
	To          string // HOST/PREFIX: an image goes to its last name below that
	Registry    *oci.Registry
	Session     *signing.Session  // of the promotion identity
	Staging     *signing.Identity // who must have signed each image in its old place
	Annotations map[string]string // signed with each image; PromotionAnnotation among them
	BuilderID   string            // of the promotion record
	Recursive   bool              // what an index lists is demanded of Staging, and signed, too
	Workers     int               // images at once; 0: 16
	Progress    func(Progress)    // may be nil; one call at a time; each image counts twice, checked and promoted
	Journal     string            // the file that explains every entry that a run makes in the log
	Now         func() time.Time  // stamps the journal and the records
}

// PromoteReport says what a run did.
type PromoteReport struct {
	To        string          `json:"to"`
	TrustRoot string          `json:"trust_root"` // that every signature was checked against
	Staging   string          `json:"staging"`    // who signed in the old place
	Identity  string          `json:"identity"`   // who signs in the new one
	Issuer    string          `json:"issuer"`
	Images    []PromotedImage `json:"images"`
	Journal   string          `json:"journal"`
}

// PromotedImage says what a run did for one image. What was done before is not counted.
type PromotedImage struct {
	From     Image      `json:"from"`
	To       Image      `json:"to"`
	Copied   oci.Copied `json:"copied"`
	Signed   int        `json:"signed"`   // signatures added, one of each style for each manifest
	Resumed  int        `json:"resumed"`  // of them: made by a run that was interrupted
	Recorded bool       `json:"recorded"` // a promotion record was added
	Tagged   bool       `json:"tagged"`   // the tag was set
}

// Done reports whether there was nothing left to do.
func (p PromotedImage) Done() bool {
	return p.Copied.Manifests+p.Copied.Blobs+p.Copied.Signatures+p.Signed == 0 && !p.Recorded && !p.Tagged
}

// Promote copies images to another place with all that vouches for them, and adds the
// promotion identity's signature and a promotion record to each. Before anything is
// written, every image must be signed by Staging where it is, and no tag of the new place
// may name something else. A tag is set when its image is signed and has been verified
// in its new place. A run that was interrupted is finished by the next, which does only
// what is missing.
func Promote(ctx context.Context, c PromoteConfig) (_ *PromoteReport, err error) {
	if c.Session == nil || c.Registry == nil || c.Staging == nil || c.Now == nil {
		return nil, errors.New("promote images: no session, registry, staging identity or clock given")
	}
	p, err := newPromotion(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("promote images: %w", err)
	}
	j, err := openJournal(c.Journal)
	if err != nil {
		return nil, fmt.Errorf("promote images: %w", err)
	}
	p.journal = j
	defer func() { err = errors.Join(err, j.close()) }()
	if err := each(ctx, p.work, c.Workers, p.progress(0), p.check); err != nil {
		return nil, fmt.Errorf("promote images: nothing was promoted: %w", err)
	}
	if err := each(ctx, p.work, c.Workers, p.progress(len(p.work)), p.promote); err != nil {
		return nil, fmt.Errorf("promote images: %w", err)
	}
	return p.report, nil
}

// promotion is one run of Promote. After newPromotion only report.Images[i] changes, by
// the one worker that has image i.
type promotion struct {
	PromoteConfig
	identity *signing.Identity // exactly the session's
	journal  *journal
	report   *PromoteReport
	work     []file // the images' references, for each

	mu      sync.Mutex // guards signing
	signing map[string]*sync.Mutex
}

func newPromotion(ctx context.Context, c PromoteConfig) (*promotion, error) {
	if len(c.Images) == 0 {
		return nil, errors.New("the list of images is empty")
	}
	subject, issuer, err := c.Session.Identity(ctx)
	if err != nil {
		return nil, err
	}
	p := &promotion{PromoteConfig: c, signing: map[string]*sync.Mutex{}, report: &PromoteReport{
		To: c.To, TrustRoot: c.Session.Trusted().String(), Staging: c.Staging.String(), Identity: subject, Issuer: issuer, Journal: c.Journal,
	}}
	if p.identity, err = signing.NewIdentity(subject, "", issuer, ""); err != nil {
		return nil, err
	}
	targets, err := targets(c.Images, c.To)
	if err != nil {
		return nil, err
	}
	for i, from := range c.Images {
		p.report.Images = append(p.report.Images, PromotedImage{From: from, To: targets[i]})
		p.work = append(p.work, file{path: from.Ref})
	}
	return p, nil
}

// progress counts from done on, of twice as many as there are images.
func (p *promotion) progress(done int) func(Progress) {
	if p.Progress == nil {
		return nil
	}
	return func(now Progress) {
		now.Done, now.Total = now.Done+done, 2*now.Total
		p.Progress(now)
	}
}

// targets are the images in their new place: prefix, the last name of the repository, and
// the tag. Two repositories that would become one are refused.
func targets(images []Image, prefix string) ([]Image, error) {
	from, out := map[string]string{}, make([]Image, len(images))
	for i, image := range images {
		if err := image.check(); err != nil {
			return nil, err
		}
		repository := image.repository()
		to := strings.TrimSuffix(prefix, "/") + "/" + path.Base(repository)
		switch other, taken := from[to]; {
		case taken && other != repository:
			return nil, fmt.Errorf("%s and %s would both become %s; promote them in two runs, to different places", other, repository, to)
		case to == repository:
			return nil, fmt.Errorf("%s is there already: it would be promoted to itself", repository)
		}
		from[to] = repository
		out[i] = Image{Ref: to + strings.TrimPrefix(image.Ref, repository), Digest: image.Digest}
		if err := out[i].check(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
