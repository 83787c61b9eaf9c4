package main

import (
	"cmp"
	"context"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/oci"
	"sigstack/internal/release"
)

type promoteFlags struct {
	images, to, journal, list, builder string
	workers                            int
	signerFlags
	staging identityFlags
	annotationFlag
	recursiveFlag
	registryFlags
}

func (a *app) releasePromoteCommand() *cobra.Command {
	var p promoteFlags
	cmd := &cobra.Command{
		Use:   "promote --images FILE --to HOST/PREFIX",
		Short: "Promote the images of a release to production",
		Long: `Promote images: each is copied to HOST/PREFIX by its digest, with all that an index
lists and with the signatures and attestations of both styles. It must be signed, where
it is, by the identity that the flags name. Then the identity that the token is of signs
it for its new name, in both styles, and adds a promotion record; all of that is verified
in the new place before the tag is set. Nothing is written unless every image passes, and
no tag is ever moved.

The same command finishes a run that was interrupted, and does only what is missing.`,
		Example: `  sigstack release promote --images out/release/v1.0.0.images --to registry.example/prod \
      --client kit --identity-token promoter.token \
      --certificate-identity staging@example.com --certificate-oidc-issuer https://login.example`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.releasePromote(cmd.Context(), p) },
	}
	f := cmd.Flags()
	f.StringVar(&p.images, "images", "", "`file` with the images, a line REGISTRY/NAME:TAG@DIGEST each")
	f.StringVar(&p.to, "to", "", "`HOST/PREFIX` of the new place; an image keeps the last name of its repository, and its tag")
	f.StringVar(&p.list, "promoted", "", "`file` to write the images of the new place to (default: the list's name with "+promotedSuffix+")")
	f.StringVar(&p.journal, "journal", "", "`file` with every signature that was made (default: the list's name with "+promotionSuffix+")")
	f.StringVar(&p.builder, "builder-id", "sigstack release promote", "`name` of the promoter in promotion records")
	p.signerFlags.add(f)
	p.staging.add(f)
	p.annotationFlag.add(f, "`key=value` to sign with each image; may be repeated (default "+release.PromotionAnnotation+"=sigstack-VERSION)")
	p.recursiveFlag.add(f, "demand staging's signature of what an index lists too, and sign that too")
	p.registryFlags.add(f)
	addWorkers(cmd, &p.workers)
	return cmd
}

// Suffixes of what lies beside the list of images.
const (
	promotedSuffix  = ".promoted.images"
	promotionSuffix = ".promotion.jsonl"
)

func (p promoteFlags) config(ctx context.Context, a *app) (c release.PromoteConfig, err error) {
	if p.images == "" || p.to == "" {
		return c, usagef("--images and --to are needed: which images, and where to")
	}
	if strings.Contains(p.to, "://") || oci.CheckReference(strings.TrimSuffix(p.to, "/")+"/name:tag") != nil {
		return c, usagef("--to %q: want HOST/PREFIX, such as registry.example/prod", p.to)
	}
	if c.Annotations, err = p.annotations(); err != nil {
		return c, err
	}
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	if c.Annotations[release.PromotionAnnotation] == "" {
		c.Annotations[release.PromotionAnnotation] = "sigstack-" + version
	}
	if c.Staging, err = p.staging.identity(); err != nil {
		return c, err
	}
	if c.Images, err = release.ReadImages(p.images); err != nil {
		return c, usagef("%w", err)
	}
	beside := strings.TrimSuffix(p.images, release.ImagesSuffix)
	c.Journal = cmp.Or(p.journal, beside+promotionSuffix)
	c.To, c.BuilderID, c.Recursive, c.Workers, c.Now = p.to, p.builder, p.recursive, p.workers, a.now
	c.Registry = p.open(a.now)
	c.Session, err = p.session(ctx, a)
	return c, err
}

func (a *app) releasePromote(ctx context.Context, p promoteFlags) error {
	c, err := p.config(ctx, a)
	if err != nil {
		return err
	}
	bar := a.newBar("promoting")
	bar.unit = "steps of images"
	c.Progress = func(now release.Progress) { bar.set(now.Done, now.Total, now.Bytes, now.Path) }
	start := a.now()
	rep, err := release.Promote(ctx, c)
	bar.end()
	if err != nil {
		if bar.done > bar.total/2 {
			a.notef("%d of %d images are done; the same command goes on from there\n", bar.done-bar.total/2, bar.total/2)
		}
		return err
	}
	images := make([]release.Image, len(rep.Images))
	for i, done := range rep.Images {
		images[i] = done.To
	}
	list := cmp.Or(p.list, strings.TrimSuffix(p.images, release.ImagesSuffix)+promotedSuffix)
	if err := release.WriteImages(list, images); err != nil {
		return err
	}
	a.result(rep, func() {
		a.printPromoted(rep, list)
		a.printf("  in %s\n", seconds(a.now().Sub(start)))
	})
	return nil
}

func (a *app) printPromoted(rep *release.PromoteReport, list string) {
	var before, copied, signed, resumed, recorded int
	var bytes int64
	for _, done := range rep.Images {
		if done.Done() {
			before++
		}
		if done.Recorded {
			recorded++
		}
		copied, signed, resumed, bytes = copied+done.Copied.Signatures, signed+done.Signed, resumed+done.Resumed, bytes+done.Copied.Bytes
	}
	a.printf("%s: %d images promoted, %d were there already; %s and %d signatures copied, %d signatures and %d records added\n",
		rep.To, len(rep.Images)-before, before, size(bytes), copied, signed, recorded)
	if resumed > 0 {
		a.printf("  %d of them with signatures of a run that was interrupted\n", resumed)
	}
	a.printf("  staged by   %s\n  signed by   %s (%s)\n  images      %s\n  trust root  %s\n",
		rep.Staging, rep.Identity, rep.Issuer, shown(list), rep.TrustRoot)
}
