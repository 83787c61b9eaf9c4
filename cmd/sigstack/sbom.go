package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"sigstack/internal/sbom"
	"sigstack/internal/signing"
)

func (a *app) sbomCommand() *cobra.Command {
	var v verifierFlags
	var bundle string
	verify := &cobra.Command{
		Use:   "verify SBOM DIR",
		Short: "Verify an SBOM, and the files in a directory by it",
		Long: `Verify the signature of an SBOM, as sigstack verify does, and then hold the files in
a directory against it: each file that the SBOM names has to be there, with all the
checksums that the SBOM has, one of them at least of the SHA-2 family. Files that it
does not name are not looked at.

An SBOM is SPDX 2, as tags and values or JSON, or CycloneDX as JSON. One that is an
attestation is compared by sigstack verify-attestation --components DIR.`,
		Example: `  sigstack sbom verify --client kit --certificate-identity builder@corp.example \
      --certificate-oidc-issuer https://dex.corp.example \
      release/v1.2.3/kubernetes-release.spdx release/v1.2.3`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.sbomVerify(cmd.Context(), v, bundle, args[0], args[1])
		},
	}
	f := verify.Flags()
	v.add(f)
	f.StringVar(&bundle, "bundle", "", "`file` with the bundle (default SBOM"+signing.BundleSuffix+")")
	return group("sbom", "Hold files against an SBOM", verify)
}

// verifiedSBOM is an SBOM that is genuine, and how files compare with it.
type verifiedSBOM struct {
	signing.Result
	componentsVerdict
}

func (a *app) sbomVerify(ctx context.Context, v verifierFlags, bundle, file, dir string) error {
	if err := wantDirectory(dir); err != nil {
		return err
	}
	c, err := v.load(ctx, a, file)
	if err != nil {
		return err
	}
	if bundle == "" {
		bundle = file + signing.BundleSuffix
	}
	b, err := loadBundle(bundle)
	if err != nil {
		return err
	}
	// What is verified is what is parsed, whoever changes the file meanwhile.
	data, err := readGiven(file, sbom.MaxDocument)
	if err != nil {
		return err
	}
	result, err := signing.Verify(ctx, bytes.NewReader(data), b, c.trusted, c.id)
	if err != nil {
		return err
	}
	out := verifiedSBOM{result, compareDocument(data, dir)}
	a.result(out, func() {
		a.printf("verified %s\n", shown(file))
		a.printResult(result)
		out.print(a)
	})
	return out.Err()
}

// componentsVerdict is how the files in a directory compare with an SBOM.
type componentsVerdict struct {
	Document sbom.Document `json:"document"`
	Report   sbom.Report   `json:"components"`
	err      error         // it could not be read, or the directory
}

// byComponents compares SBOMs with the files in dir.
func byComponents(dir string, types []string) (judge, error) {
	if !slices.Contains(types, cyclonePredicate) && !slices.Contains(types, signing.SPDXPredicates()[0]) {
		return nil, usagef("--components compares SBOMs: with --type spdx, spdxjson or cyclonedx")
	}
	if err := wantDirectory(dir); err != nil {
		return nil, err
	}
	return func(got attested) judgement {
		document := []byte(got.Predicate)
		var text string
		if json.Unmarshal(got.Predicate, &text) == nil {
			document = []byte(text) // tags and values, or what cosign takes for them
		}
		return compareDocument(document, dir)
	}, nil
}

func wantDirectory(dir string) error {
	if info, err := os.Stat(dir); err != nil {
		return usagef("%w", err)
	} else if !info.IsDir() {
		return usagef("%s is not a directory", dir)
	}
	return nil
}

func compareDocument(data []byte, dir string) componentsVerdict {
	d, err := sbom.Parse(data)
	if err != nil {
		return componentsVerdict{err: err, Report: sbom.Report{Problems: []sbom.Problem{{Reason: err.Error()}}}}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return componentsVerdict{Document: d, err: err, Report: sbom.Report{Problems: []sbom.Problem{{Reason: err.Error()}}}}
	}
	report := d.Check(func(path string) (map[string]string, error) { return digestsIn(root, path) })
	return componentsVerdict{d, report, root.Close()}
}

// digestsIn reads a file, which may not be outside the directory by links either.
func digestsIn(root *os.Root, path string) (_ map[string]string, err error) {
	info, err := root.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := root.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return digestsOf(f)
}

// Err implements judgement.
func (v componentsVerdict) Err() error {
	if err := cmp.Or(v.err, v.Report.Err()); err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	return nil
}

// maxProblems is how many are printed.
const maxProblems = 20

func (v componentsVerdict) print(a *app) {
	if v.Document.Format != "" {
		a.printf("  SBOM        %s %s\n", shown(v.Document.Format), shown(v.Document.Name))
	}
	a.printf("  components  %d files as described, %d problem(s), %d that name no file\n", v.Report.Checked, len(v.Report.Problems), v.Report.Skipped)
	for i, p := range v.Report.Problems {
		if i == maxProblems {
			a.printf("  …\n")
			return
		}
		a.printf("  FAILED      %s: %s\n", shown(p.Path), shown(p.Reason))
	}
}
