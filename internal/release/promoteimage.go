package release

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
)

// promotionRecord is the predicate of PromotionPredicate.
type promotionRecord struct {
	SrcRef    string `json:"srcRef"`
	DstRef    string `json:"dstRef"`
	Digest    string `json:"digest"`
	Timestamp string `json:"timestamp"` // RFC 3339
	BuilderID string `json:"builderId"`
}

// check changes nothing: the image must be signed by staging where it is, and its tag be
// free in the new place.
func (p *promotion) check(ctx context.Context, i int, _ file) error {
	done := &p.report.Images[i]
	switch _, err := p.verify(ctx, p.Registry.Glance(), done.From.Pinned(), p.Staging, nil); {
	case refused(err):
		return fmt.Errorf("%s is not signed by %s: %w", done.From.Ref, p.Staging, err)
	case err != nil:
		return fmt.Errorf("%s: %w", done.From.Ref, err)
	}
	_, err := p.Registry.CheckTag(ctx, done.To.Ref, done.To.Digest)
	return err
}

// verify returns the image, and all below it if Recursive says so, each as verified.
func (p *promotion) verify(ctx context.Context, registry *oci.Registry, ref string, by *signing.Identity, annotations map[string]string) ([]oci.Verified, error) {
	judge := registry.Verify
	if p.Recursive {
		judge = registry.VerifyRecursive
	}
	got, err := judge(ctx, ref, p.Session.Trusted(), by, annotations)
	if err != nil {
		return nil, err
	}
	return append([]oci.Verified{got}, got.Children...), nil
}

// promote copies one image, signs and records it, verifies all that in the new place, and
// then sets the tag there.
func (p *promotion) promote(ctx context.Context, i int, _ file) (err error) {
	done := &p.report.Images[i]
	to := done.To.Pinned()
	registry := p.Registry.PuttingOff()
	if done.Copied, err = registry.Copy(ctx, done.From.Pinned(), done.To.Ref); err != nil {
		return err
	}
	if err := p.vouch(ctx, registry, done, to); err != nil {
		return fmt.Errorf("%s: %w", done.To.Ref, err)
	}
	if err := registry.Settle(ctx); err != nil {
		return fmt.Errorf("%s: %w", done.To.Ref, err)
	}
	if err := p.verifyPromoted(ctx, done, to); err != nil {
		return fmt.Errorf("%s was promoted, but does not verify; its tag was not set: %w", done.To.Ref, err)
	}
	done.Tagged, err = p.Registry.SetTag(ctx, done.To.Ref, done.To.Digest)
	return err
}

// vouch adds the signatures and the record that are missing. Two tags of one image are
// not signed at the same time: each would find nothing there.
func (p *promotion) vouch(ctx context.Context, registry *oci.Registry, done *PromotedImage, to string) error {
	refs := []string{to}
	if p.Recursive {
		var err error
		if refs, err = registry.Tree(ctx, to); err != nil {
			return err
		}
	}
	for _, ref := range refs {
		if err := p.signMissing(ctx, registry, done, ref); err != nil {
			return err
		}
	}
	unlock := p.lock(to)
	defer unlock()
	registry = registry.Glance()
	recorded, err := p.recorded(ctx, registry, done, to)
	if err != nil || recorded {
		return err
	}
	predicate, err := json.Marshal(promotionRecord{
		SrcRef: done.From.Ref, DstRef: done.To.Ref, Digest: done.To.Digest,
		Timestamp: p.Now().UTC().Format(time.RFC3339), BuilderID: p.BuilderID,
	})
	if err != nil {
		return fmt.Errorf("encode promotion record: %w", err)
	}
	if err := p.record(ctx, registry, to, predicate); err != nil {
		return fmt.Errorf("record promotion: %w", err)
	}
	done.Recorded = true
	return nil
}

// record signs and stores a promotion record. The journal explains it; one of a run that
// was interrupted is made anew, since it tells another time.
func (p *promotion) record(ctx context.Context, registry *oci.Registry, to string, predicate []byte) error {
	content, err := registry.PrepareAttestation(ctx, to, PromotionPredicate, predicate)
	if err != nil {
		return err
	}
	draft, err := p.Session.DraftStatement(ctx, content.Statement)
	if err != nil {
		return err
	}
	line := JournalLine{
		At: p.Now().UTC(), Image: content.Image, Storage: oci.Referrer, Payload: content.Statement,
		SHA256: hex.EncodeToString(draft.Digest[:]), Signature: draft.Signature, Certificate: string(draft.Verifier),
	}
	if err := p.journal.note(line); err != nil {
		return err
	}
	_, err = registry.SubmitAttestation(ctx, p.Session, content, draft)
	return err
}

func (p *promotion) lock(ref string) (unlock func()) {
	p.mu.Lock()
	one := p.signing[ref]
	if one == nil {
		one = new(sync.Mutex)
		p.signing[ref] = one
	}
	p.mu.Unlock()
	one.Lock()
	return one.Unlock
}

func (p *promotion) signMissing(ctx context.Context, registry *oci.Registry, done *PromotedImage, ref string) error {
	unlock := p.lock(ref)
	defer unlock()
	registry = registry.Glance()
	styles, err := p.missing(ctx, registry, ref)
	if err != nil {
		return err
	}
	for _, style := range styles {
		_, resumed, err := p.journal.signImage(ctx, p.Session, registry, ref, style, p.Annotations, p.Now)
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		done.Signed++
		if resumed {
			done.Resumed++
		}
	}
	return nil
}

// missing are the styles in which the promotion identity has not signed the image for its
// new place. The registry is a glance at it.
func (p *promotion) missing(ctx context.Context, registry *oci.Registry, ref string) ([]oci.Style, error) {
	styles := []oci.Style{oci.Tag, oci.Referrer}
	got, err := registry.Verify(ctx, ref, p.Session.Trusted(), p.identity, p.Annotations)
	if err != nil && !refused(err) {
		return nil, err
	}
	repository, _, _ := strings.Cut(ref, "@")
	for _, proof := range got.Passed {
		if proof.Style == oci.Tag && proof.Reference != repository {
			continue // of another place, from which it was copied
		}
		styles = slices.DeleteFunc(styles, func(s oci.Style) bool { return s == proof.Style })
	}
	if len(styles) == 0 {
		return nil, nil
	}
	// What seems to be missing may be what could not be read.
	_, _, err = registry.Proofs(ctx, ref, p.Session.Trusted(), p.identity, p.Annotations)
	return styles, err
}

// refused reports whether err is a verdict. Where a registry could not be read nothing is
// known: a second signature would be no remedy.
func refused(err error) bool {
	var unsigned *oci.UnsignedError
	var refused *oci.RefusedError
	var children *oci.ChildrenError
	return (errors.As(err, &unsigned) || errors.As(err, &refused) || errors.As(err, &children)) && !registryFailed(err)
}

// recorded reports whether the promotion identity has recorded this very promotion.
func (p *promotion) recorded(ctx context.Context, registry *oci.Registry, done *PromotedImage, to string) (bool, error) {
	got, err := registry.VerifyAttestation(ctx, to, p.Session.Trusted(), p.identity, PromotionPredicate)
	if refused(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, proof := range got.Passed {
		var r promotionRecord
		if err := json.Unmarshal(proof.Predicate, &r); err != nil {
			continue // it says something else, whatever it is
		}
		if r.SrcRef == done.From.Ref && r.DstRef == done.To.Ref && r.Digest == done.To.Digest {
			return true, nil
		}
	}
	return false, nil
}

// verifyPromoted reads the new place anew, as anybody would: staging's signature has come
// along, and nothing is missing of what was to be added.
func (p *promotion) verifyPromoted(ctx context.Context, done *PromotedImage, to string) error {
	registry := p.Registry.Glance()
	if _, err := p.verify(ctx, registry, to, p.Staging, nil); err != nil {
		return err
	}
	got, err := p.verify(ctx, registry, to, p.identity, p.Annotations)
	if err != nil {
		return err
	}
	for _, manifest := range got {
		styles, err := p.missing(ctx, registry, manifest.Image)
		if err != nil {
			return err
		}
		if len(styles) > 0 {
			return fmt.Errorf("%s has no signature of %s by %s", manifest.Image, p.identity, styles[0])
		}
	}
	recorded, err := p.recorded(ctx, registry, done, to)
	if err == nil && !recorded {
		err = errors.New("its promotion record is not there")
	}
	return err
}
