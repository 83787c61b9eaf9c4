package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/durable"
	"sigstack/internal/release"
	"sigstack/internal/signing"
)

func (a *app) attestCommand() *cobra.Command {
	var s attestFlags
	cmd := &cobra.Command{
		Use:   "attest FILE|oci://IMAGE... --type TYPE --predicate FILE",
		Short: "Sign a statement about files and images",
		Long: `Sign an in-toto statement about a file or an image: provenance, an SBOM, or anything
else with a predicate type. It is certified, logged and timestamped like a signature
(see sigstack sign), and verified before it is stored.

The attestation of a file goes to FILE` + release.AttestationSuffix + `, which is never overwritten,
or with --append to FILE` + signing.AttestationsSuffix + `, after those that are there already; that of
an image goes beside it in the registry. Several artifacts, images by digest among
them, are the subjects of one statement, which goes to the file of --bundle.

SPDX may be JSON or tags and values; other predicates are JSON.`,
		Example: `  sigstack attest --identity-token token --type slsaprovenance1 --predicate provenance.json kubectl
  sigstack attest --identity-token token --type spdxjson --predicate sbom.spdx.json --append kubectl
  sigstack attest --identity-token token --type https://example.com/review/v1 --predicate review.json \
      --storage tag oci://registry.example/app:v1
  sigstack attest --identity-token token --type slsaprovenance1 --predicate provenance.json \
      --bundle provenance.sigstore.json dist/* oci://registry.example/app@sha256:4f2d…`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return a.attestSet(cmd.Context(), s, args)
			}
			return a.attest(cmd.Context(), s, args[0])
		},
	}
	f := cmd.Flags()
	s.signerFlags.add(f)
	s.keyFlags.add(f)
	f.StringVar(&s.predicateType, "type", "", "predicate `type`: "+predicateNames+", or a URI")
	f.StringVar(&s.predicate, "predicate", "", "`file` with the predicate, - for stdin")
	f.StringVar(&s.bundle, "bundle", "", "`file` to write the bundle to, for a FILE (default FILE"+release.AttestationSuffix+")")
	f.BoolVar(&s.append, "append", false, "add it to FILE"+signing.AttestationsSuffix+", or the file of --bundle, as one line more")
	s.storageFlag.add(f)
	s.registryFlags.add(f)
	return cmd
}

type attestFlags struct {
	signerFlags
	predicateType, predicate string
	bundle                   string
	append                   bool
	storageFlag
	registryFlags
}

func (a *app) attest(ctx context.Context, s attestFlags, arg string) error {
	style, err := s.storage()
	if err != nil {
		return err
	}
	if err := s.check(arg); err != nil {
		return err
	}
	types, predicate, err := a.statementOf(s)
	if err != nil {
		return err
	}
	session, err := s.session(ctx, a)
	if err != nil {
		return err
	}
	return a.signEach([]string{arg}, func(arg string) (any, string, error) {
		if ref, ok := strings.CutPrefix(arg, imagePrefix); ok {
			signed, err := s.open(a.now).Attest(ctx, session, ref, style, types[0], predicate)
			if err != nil {
				return nil, "", err
			}
			a.noteSigned("an attestation of "+signed.Image, signed.Result)
			return signed, signed.Stored, nil
		}
		return a.attestFile(ctx, session, arg, s.place(arg), types[0], predicate)
	})
}

// statementOf reads what the flags say of a statement: its types, of which the first is
// written, and its predicate.
func (a *app) statementOf(s attestFlags) ([]string, json.RawMessage, error) {
	types, err := predicateTypes(s.predicateType)
	if err != nil {
		return nil, nil, err
	}
	predicate, err := a.readPredicate(types[0], s.predicate)
	return types, predicate, err
}

// checkFlags checks what does not depend on the artifact.
func (s attestFlags) checkFlags() error {
	switch {
	case s.predicate == "":
		return usagef("--predicate is needed: a file, or - for stdin")
	case s.predicate == "-" && s.token == "-":
		return usagef("--predicate and --identity-token cannot both be stdin")
	case s.append && s.bundle != "" && !holdsSeveral(s.bundle):
		return usagef("--append --bundle %s: a file of several attestations ends in .jsonl, by which it is told from one", s.bundle)
	}
	return nil
}

func (s attestFlags) check(arg string) error {
	if err := s.checkFlags(); err != nil {
		return err
	}
	switch {
	case isImage(arg) && s.bundle != "":
		return usagef("--bundle is for files; an image's attestation goes into its registry")
	case isImage(arg) && s.append:
		return usagef("--append is for files; an image's attestations are beside each other anyway")
	case !isImage(arg) && s.style != "":
		return usagef("--storage is for images; an image is named oci://REGISTRY/NAME:TAG")
	}
	if err := wantTarget(arg); err != nil || isImage(arg) {
		return err
	}
	return s.place(arg).check(arg, s.predicate)
}

// place is where the attestation of a file goes.
type place struct {
	path string
	how  placing
}

type placing int

const (
	create  placing = iota // the file must not be there
	replace                // a file that the user named may be replaced
	enlarge                // the file may have attestations already
)

func (s attestFlags) place(file string) place {
	switch {
	case s.append:
		return place{cmp.Or(s.bundle, file+signing.AttestationsSuffix), enlarge}
	case s.bundle != "":
		return place{s.bundle, replace}
	}
	return place{file + release.AttestationSuffix, create}
}

// check makes it a usage error if nothing can be written there, before something is
// logged for good. inputs are the files that are read.
func (p place) check(inputs ...string) error {
	if _, err := os.Lstat(p.path); err == nil && p.how == create {
		return usagef("%s is there already: name another with --bundle, or remove it; several go into one file with --append", p.path)
	} else if err == nil && p.how == enlarge {
		if _, err := readCandidates(p.path); err != nil {
			return usagef("nothing can be added: %w", err)
		}
	}
	return wantOutput(p.path, inputs...)
}

// write puts a bundle there.
func (p place) write(bundle []byte) error {
	switch p.how {
	case replace:
		return durable.WriteFile(p.path, bundle, 0o644)
	case enlarge:
		return durable.Update(p.path, 0o644, signing.MaxAttestations, func(old []byte) ([]byte, error) {
			return signing.AppendAttestation(old, bundle)
		})
	}
	if err := durable.CreateFile(p.path, bundle, 0o644); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; name another with --bundle, or remove it", err)
	} else if err != nil {
		return err
	}
	return nil
}

func (a *app) readPredicate(predicateType, path string) (json.RawMessage, error) {
	var content []byte
	var err error
	if path == "-" {
		content, err = readBounded(a.in, "stdin", maxPredicate)
	} else {
		content, err = readGiven(path, maxPredicate)
	}
	if err != nil {
		return nil, err
	}
	return encodePredicate(predicateType, content, a.now())
}

func (a *app) attestFile(ctx context.Context, session *signing.Session, file string, to place, predicateType string, predicate json.RawMessage) (any, string, error) {
	digests, err := fileDigests(file)
	if err != nil {
		return nil, "", err
	}
	statement, err := signing.NewStatement([]signing.Subject{subjectOf(file, digests["sha256"])}, predicateType, predicate)
	if err != nil {
		return nil, "", err
	}
	signed, err := session.SignStatement(ctx, statement)
	if err != nil {
		return nil, "", err
	}
	if err := to.write(signed.JSON); err != nil {
		return nil, "", err
	}
	a.noteSigned("an attestation of "+file, signed.Result)
	return signedFile{file, to.path, signed.Result}, to.path, nil
}

// subjectOf names a file and its SHA-256 in hex.
func subjectOf(file, sha256 string) signing.Subject {
	return signing.Subject{Name: filepath.Base(file), Digest: map[string]string{"sha256": sha256}}
}
