package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sigstack/internal/release"
)

func (a *app) releaseCommand() *cobra.Command {
	return group("release", "Make, sign, verify and promote Kubernetes-style releases",
		a.releaseSampleCommand(), a.releaseSignCommand(), a.releaseVerifyCommand(), a.releasePromoteCommand())
}

func (a *app) releaseSampleCommand() *cobra.Command {
	var c release.SampleConfig
	var registry registryFlags
	cmd := &cobra.Command{
		Use:   "sample DIR",
		Short: "Build a release tree to try things on",
		Long: `Build DIR/release/VERSION as the Kubernetes release process lays it out: tarballs,
binaries, source bundle, SPDX SBOMs and checksum files. Contents are taken from
--from-bin (bin/OS/ARCH/NAME, kubernetes-src.tar.gz, *.spdx), else pseudo-random
and the same for the same --seed.

With --images a set of images is pushed below --registry, as Kubernetes names them:
NAME-ARCH:TAG for each architecture, and the index NAME:TAG over them. Their list,
REF@DIGEST a line, is written beside the tree, DIR/release/VERSION.images.`,
		Example: `  sigstack release sample out --version v0.1.0 --files 40
  sigstack release sample out --version v0.1.0 --images 12 --registry localhost:5000/k8s
  sigstack release sample out --version v0.1.0 --from-bin dist`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (c.Images.Count > 0) != (c.Images.Prefix != "") {
				return usagef("--images and --registry go together")
			}
			c.Dir, c.Images.Registry = args[0], registry.open(a.now)
			return a.releaseSample(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Version, "version", "v0.1.0", "release `version`")
	f.IntVar(&c.Files, "files", 0, "`number` of signed files (default 24, or as many as --from-bin gives)")
	f.StringVar(&c.FromBin, "from-bin", "", "`directory` with real contents")
	f.IntVar(&c.Images.Count, "images", 0, "`number` of images, indexes included, to push below --registry")
	f.StringVar(&c.Images.Prefix, "registry", "", "`HOST/PREFIX` of the images' repositories")
	registry.add(f)
	f.Uint64Var(&c.Seed, "seed", 1, "`seed` of pseudo-random contents")
	return cmd
}

func (a *app) releaseSample(ctx context.Context, c release.SampleConfig) error {
	rep, err := release.Sample(ctx, c)
	if err != nil {
		return err
	}
	a.result(rep, func() {
		a.printf("%s: %d files to sign, %s\n", shown(rep.Tree), rep.Signable, size(rep.Bytes))
		if rep.Images > 0 {
			a.printf("%s: %d images to sign\n", shown(rep.List), rep.Images)
		}
	})
	return nil
}

func (a *app) releaseSignCommand() *cobra.Command {
	var s signerFlags
	var images imagesFlags
	var workers int
	var journal string
	cmd := &cobra.Command{
		Use:   "sign DIR",
		Short: "Sign every file and image of a release",
		Long: `Sign the files of a release tree in parallel, as one identity: FILE.sig, FILE.cert
and FILE.sigstore.json for each, verified before they are written. What is signed
already is verified instead, so an interrupted run is finished by the next.

The images in the list beside the tree, DIR.images, or in --images, are signed by
digest in the same run, with whatever an index lists, by tag and as referrers.

Each signature is in a journal beside the tree, on disk, before any service sees it.
So every entry that the runs made in the transparency log is explained, and a
signature that a run had made when it was interrupted is submitted again, as long as
its certificate lives, ten minutes at most.`,
		Example: "  sigstack release sign out --client kit --identity-token token",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := wantDir(args[0]); err != nil {
				return err
			}
			chosen, err := images.config(a)
			if err != nil {
				return err
			}
			session, err := s.session(cmd.Context(), a)
			if err != nil {
				return err
			}
			return a.releaseSign(cmd.Context(), release.SignConfig{
				Dir: args[0], Session: session, Workers: workers, Journal: journal, Now: a.now, Images: chosen,
			})
		},
	}
	s.add(cmd.Flags())
	images.add(cmd.Flags())
	cmd.Flags().StringVar(&journal, "journal", "", "`file` with every signature that was made (default: the tree's name with "+release.JournalSuffix+")")
	addWorkers(cmd, &workers)
	return cmd
}

func addWorkers(cmd *cobra.Command, n *int) {
	cmd.Flags().IntVar(n, "workers", 16, "`number` of files and images at once, 1 to 256")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if *n < 1 || *n > 256 {
			return usagef("--workers %d: want 1 to 256", *n)
		}
		return nil
	}
}

func (a *app) releaseSign(ctx context.Context, c release.SignConfig) error {
	bar := a.newBar("signing")
	bar.unit = "files and images"
	c.Progress = func(p release.Progress) { bar.set(p.Done, p.Total, p.Bytes, p.Path) }
	start := a.now()
	collectSeldom()
	rep, err := release.Sign(ctx, c)
	bar.end()
	if err != nil {
		if bar.done > 0 {
			a.notef("%d of %d files and images are done; the same command goes on from there\n", bar.done, bar.total)
		}
		return err
	}
	a.result(rep, func() {
		a.printf("%s: %d files signed, %d were signed already, %s, in %s\n",
			shown(rep.Tree), rep.Signed, rep.Skipped, size(rep.Bytes), seconds(a.now().Sub(start)))
		if rep.Resumed > 0 {
			a.printf("  %d of them with signatures of a run that was interrupted\n", rep.Resumed)
		}
		a.printSignedImages(rep)
		a.printf("  signed by   %s (%s)\n  trust root  %s\n", rep.Identity, rep.Issuer, rep.TrustRoot)
	})
	return nil
}

// printSignedImages tells of images, in numbers; the JSON report tells of each.
func (a *app) printSignedImages(rep *release.SignReport) {
	if len(rep.Images) == 0 {
		return
	}
	how, children := map[release.How]int{}, 0
	for _, image := range rep.Images {
		if image.Child {
			children++
		}
		for _, s := range image.Signatures {
			how[s.How]++
		}
	}
	a.printf("%s: %d images and %d below indexes, %d signatures made, %d resumed, %d were there already\n",
		shown(rep.ImagesList), len(rep.Images)-children, children, how[release.Signed], how[release.Resumed], how[release.Skipped])
}

func (a *app) releaseVerifyCommand() *cobra.Command {
	var c clientFlags
	var i identityFlags
	var images imagesFlags
	var workers int
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Verify a release: its files and its images",
		Long: `Verify every file of a release tree: signatures by the identity you name, all
checksums, nothing missing and nothing unlisted. Every problem is reported; exit
code 1 if there is one.

Of the images in the list beside the tree, DIR.images, or in --images, each tag must
point at its digest, and each, with whatever an index lists, must be signed by tag and
as a referrer, or as --storage says. Their registry is asked; no other connection is
made, but for --tuf-url without --offline.`,
		Example: `  sigstack release verify out --client kit --certificate-identity demo@sigstack.local \
      --certificate-oidc-issuer http://localhost:8080/dex`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := i.identity()
			if err != nil {
				return err
			}
			if err := wantDir(args[0]); err != nil {
				return err
			}
			chosen, err := images.config(a)
			if err != nil {
				return err
			}
			if c.offline {
				chosen.Registry = nil // nobody is asked anything; a list is then refused
			}
			kit, err := c.kit(cmd.Context(), a)
			if err != nil {
				return err
			}
			return a.releaseVerify(cmd.Context(), release.VerifyConfig{
				Dir: args[0], Trusted: kit.Trusted, Identity: id, Workers: workers, Images: chosen,
			})
		},
	}
	c.add(cmd.Flags())
	i.add(cmd.Flags())
	images.add(cmd.Flags())
	addWorkers(cmd, &workers)
	return cmd
}

// wantDir makes naming anything but a directory a usage error.
func wantDir(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return usagef("%w", err)
	}
	if !info.IsDir() {
		return usagef("%s is not a directory", path)
	}
	return nil
}

func (a *app) releaseVerify(ctx context.Context, c release.VerifyConfig) error {
	bar := a.newBar("verifying")
	bar.unit = "files and images"
	c.Progress = func(p release.Progress) { bar.set(p.Done, p.Total, p.Bytes, p.Path) }
	start := a.now()
	collectSeldom()
	rep, err := release.Verify(ctx, c)
	bar.end()
	if err != nil {
		return err
	}
	a.result(rep, func() {
		for _, p := range rep.Problems {
			a.printf("%s\n", shown(fmt.Sprint(p)))
		}
		a.printf("%s: %d files, %d signatures verified, %d problems, %s, in %s\n",
			shown(rep.Tree), len(rep.Files), rep.Signed, len(rep.Problems), size(rep.Bytes), seconds(a.now().Sub(start)))
		a.printVerifiedImages(rep)
		if note := rep.IssuerBacking.Note(); note != "" {
			a.printf("  issuer      %s\n", note)
		}
		a.printf("  trust root  %s\n", rep.TrustRoot)
	})
	if err := rep.Err(); err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	return nil
}
