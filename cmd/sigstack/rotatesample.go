package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"sigstack/internal/rotate"
	"sigstack/internal/signing"
)

// sampleFlags name artifacts that were signed long ago, and must go on to verify.
type sampleFlags struct{ dir string }

func (s *sampleFlags) add(f *pflag.FlagSet) {
	f.StringVar(&s.dir, "sample", "", "`directory` with artifacts, each beside its bundle (FILE"+signing.BundleSuffix+"), that must verify before each step and at the end")
}

// before checks the sample before a step.
func (r *rotating) before(ctx context.Context, _ rotate.Step) error {
	return r.checkSample(ctx)
}

// checkSample verifies every artifact of the sample, by whomever it was signed, with
// what is published now.
func (r *rotating) checkSample(ctx context.Context) error {
	if r.f.sample.dir == "" {
		return nil
	}
	kit, err := signing.LoadKit(r.l.Client())
	if err != nil {
		return err
	}
	id, err := identityFlags{subjectRegexp: ".*", issuerRegexp: ".*"}.identity()
	if err != nil {
		return err
	}
	bundles, err := filepath.Glob(filepath.Join(r.f.sample.dir, "*"+signing.BundleSuffix))
	if err != nil {
		return fmt.Errorf("list the sample: %w", err)
	}
	if len(bundles) == 0 {
		return fmt.Errorf("--sample %s: no file there ends in %s", r.f.sample.dir, signing.BundleSuffix)
	}
	for _, path := range bundles {
		artifact := strings.TrimSuffix(path, signing.BundleSuffix)
		if _, err := os.Stat(artifact); err != nil {
			return fmt.Errorf("the sample: %w", err)
		}
		bundle, err := loadBundle(path)
		if err != nil {
			return err
		}
		if _, err := signing.VerifyFile(ctx, artifact, bundle, kit.Trusted, id); err != nil {
			return fmt.Errorf("%s of the sample does not verify with what is published: nothing more was rotated: %w", artifact, err)
		}
	}
	r.a.notef("%d artifacts of the sample verify\n", len(bundles))
	return nil
}
