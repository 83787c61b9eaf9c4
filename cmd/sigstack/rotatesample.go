package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"sigstack/internal/config"
	"sigstack/internal/rotate"
	"sigstack/internal/signing"
	"sigstack/internal/trust"
)

// sampleFlags name artifacts that were signed long ago, and must go on to verify.
type sampleFlags struct{ dir string }

func (s *sampleFlags) add(f *pflag.FlagSet) {
	f.StringVar(&s.dir, "sample", "", "`directory` with artifacts, each beside its bundle (FILE"+signing.BundleSuffix+"), that must verify before each step and at the end: "+
		"with what is published, as of now and as of the times of the steps to come, and with what is about to be published")
}

// files are the artifacts of the sample.
func (s sampleFlags) files() (out []string, err error) {
	bundles, err := filepath.Glob(filepath.Join(s.dir, "*"+signing.BundleSuffix))
	if err != nil {
		return nil, fmt.Errorf("list the sample: %w", err)
	}
	if len(bundles) == 0 {
		return nil, fmt.Errorf("--sample %s: no file there ends in %s", s.dir, signing.BundleSuffix)
	}
	for _, path := range bundles {
		artifact := strings.TrimSuffix(path, signing.BundleSuffix)
		if _, err := os.Stat(artifact); err != nil {
			return nil, fmt.Errorf("the sample: %w", err)
		}
		out = append(out, artifact)
	}
	return out, nil
}

// before checks the sample before a step.
func (r *rotating) before(ctx context.Context, s rotate.Step) error {
	return r.checkSample(ctx, &s)
}

// checkSample judges every artifact of the sample, by whomever it was signed, as a
// client with the kit does, and as the repository's clients do now and at the times of
// the steps from next on; nil: none is left.
func (r *rotating) checkSample(ctx context.Context, next *rotate.Step) error {
	if r.f.sample.dir == "" {
		return nil
	}
	files, err := r.f.sample.files()
	if err != nil {
		return err
	}
	j, err := rotate.Read(r.dir(), r.what)
	if err != nil {
		return err
	}
	if j != nil && j.Facts["ended_key"] != "" {
		r.tolerant = true
	}
	kit, err := signing.LoadKit(r.l.Client())
	if err != nil {
		return err
	}
	if err := r.judgeSample(ctx, files, &signing.PastClient{Trusted: kit.Trusted}, "with what is published"); err != nil {
		return err
	}
	times, err := r.timesAhead(j, next)
	if err != nil {
		return err
	}
	for _, at := range times {
		then, err := r.a.pastClient(asOfFlags{dir: r.l.Dir}, at)
		if err != nil {
			return err
		}
		signedByPeople(then)
		if err := r.judgeSample(ctx, files, then, "as of "+stamp(at)); err != nil {
			return err
		}
	}
	if !r.tolerant {
		r.a.notef("%d artifacts of the sample verify, as of %d times\n", len(files), len(times))
	}
	return nil
}

// timesAhead are now, and the times of steps from next on.
func (r *rotating) timesAhead(j *rotate.Journal, next *rotate.Step) ([]time.Time, error) {
	now := r.a.now()
	times := []time.Time{now}
	if next == nil || j == nil {
		return times, nil
	}
	conf, err := config.Load(r.l.Config())
	if err != nil {
		return nil, err
	}
	plan, err := r.rot.Plan(j, r.expected(conf, j.Facts))
	if err != nil {
		return nil, err
	}
	for _, p := range plan {
		if p.From.After(now) && !slices.ContainsFunc(times, p.From.Equal) {
			times = append(times, p.From)
		}
	}
	return times, nil
}

// signedByPeople leaves of what has expired what nobody renews by himself: root and
// targets. The process signs the other roles anew all the time.
func signedByPeople(c *signing.PastClient) {
	c.Refused = ""
	for _, role := range c.Roles {
		if role.Expired && (role.Role == "root" || role.Role == "targets") {
			c.Refused = fmt.Sprintf("TUF %s %d expires at %s, and is to be renewed before: sigstack tuf ceremony start --renew", role.Role, role.Version, stamp(role.Expires))
		}
	}
}

// judgeSample refuses if a client refuses one of the files, unless trust in a key has
// ended for that.
func (r *rotating) judgeSample(ctx context.Context, files []string, client *signing.PastClient, how string) error {
	id, err := identityFlags{subjectRegexp: ".*", issuerRegexp: ".*"}.identity()
	if err != nil {
		return err
	}
	refused := 0
	for _, file := range files {
		got := judgeAsOf(ctx, client, file, file+signing.BundleSuffix, id)
		if err := ctx.Err(); err != nil {
			return err
		}
		if got.Verdict == "accepted" {
			continue
		}
		if !r.tolerant || client.Refused != "" {
			return fmt.Errorf("%s of the sample does not verify %s: nothing more was rotated: %s", file, how, strings.Join(got.Reasons, "; "))
		}
		refused++
	}
	if refused > 0 {
		r.a.notef("%d of %d artifacts of the sample are refused %s: the trust in the key that signed them has ended\n", refused, len(files), how)
	}
	return nil
}

// judgeDraft judges the sample by the trusted root that is about to be published.
func (r *rotating) judgeDraft(ctx context.Context, targets []trust.Target) error {
	i := slices.IndexFunc(targets, func(t trust.Target) bool { return t.Name == trust.TrustedRootName })
	if r.f.sample.dir == "" || i < 0 {
		return nil
	}
	files, err := r.f.sample.files()
	if err != nil {
		return err
	}
	root, err := signing.NewTrustRoot("the draft of "+trust.TrustedRootName, targets[i].Data)
	if err != nil {
		return err
	}
	return r.judgeSample(ctx, files, &signing.PastClient{Trusted: root}, "with what is about to be published")
}
