package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
		Use:   "attest FILE|oci://IMAGE --type TYPE --predicate FILE",
		Short: "Sign a statement about a file or an image",
		Long: `Sign an in-toto statement about a file or an image: provenance, an SBOM, or anything
else with a predicate type. It is certified, logged and timestamped like a signature
(see sigstack sign), and verified before it is stored.

The attestation of a file goes to FILE` + release.AttestationSuffix + `, which is never overwritten;
that of an image goes beside it in the registry.`,
		Example: `  sigstack attest --identity-token token --type slsaprovenance1 --predicate provenance.json kubectl
  sigstack attest --identity-token token --type spdxjson --predicate sbom.spdx.json \
      --bundle kubectl.sbom.sigstore.json kubectl
  sigstack attest --identity-token token --type https://example.com/review/v1 --predicate review.json \
      --storage tag oci://registry.example/app:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.attest(cmd.Context(), s, args[0]) },
	}
	f := cmd.Flags()
	s.signerFlags.add(f)
	s.keyFlags.add(f)
	f.StringVar(&s.predicateType, "type", "", "predicate `type`: "+predicateNames+", or a URI")
	f.StringVar(&s.predicate, "predicate", "", "`file` with the predicate, - for stdin")
	f.StringVar(&s.bundle, "bundle", "", "`file` to write the bundle to, for a FILE (default FILE"+release.AttestationSuffix+")")
	s.storageFlag.add(f)
	s.registryFlags.add(f)
	return cmd
}

type attestFlags struct {
	signerFlags
	predicateType, predicate string
	bundle                   string
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
	types, err := predicateTypes(s.predicateType)
	if err != nil {
		return err
	}
	predicate, err := a.readPredicate(types[0], s.predicate)
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
		return a.attestFile(ctx, session, arg, s.bundle, types[0], predicate)
	})
}

func (s attestFlags) check(arg string) error {
	switch {
	case s.predicate == "":
		return usagef("--predicate is needed: a file, or - for stdin")
	case s.predicate == "-" && s.token == "-":
		return usagef("--predicate and --identity-token cannot both be stdin")
	case isImage(arg) && s.bundle != "":
		return usagef("--bundle is for files; an image's attestation goes into its registry")
	case !isImage(arg) && s.style != "":
		return usagef("--storage is for images; an image is named oci://REGISTRY/NAME:TAG")
	}
	if err := wantTarget(arg); err != nil {
		return err
	}
	if _, err := os.Lstat(arg + release.AttestationSuffix); err == nil && !isImage(arg) && s.bundle == "" {
		return usagef("%s is there already: name another with --bundle, or remove it", arg+release.AttestationSuffix)
	}
	if isImage(arg) {
		return nil
	}
	return wantOutput(cmp.Or(s.bundle, arg+release.AttestationSuffix), arg, s.predicate)
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

func (a *app) attestFile(ctx context.Context, session *signing.Session, file, bundle, predicateType string, predicate json.RawMessage) (any, string, error) {
	digest, err := fileDigest(file)
	if err != nil {
		return nil, "", err
	}
	subject := signing.Subject{Name: filepath.Base(file), Digest: map[string]string{"sha256": hex.EncodeToString(digest)}}
	statement, err := signing.NewStatement([]signing.Subject{subject}, predicateType, predicate)
	if err != nil {
		return nil, "", err
	}
	signed, err := session.SignStatement(ctx, statement)
	if err != nil {
		return nil, "", err
	}
	write := durable.WriteFile // a file that the user names may be replaced
	if bundle == "" {
		bundle, write = file+release.AttestationSuffix, durable.CreateFile
	}
	if err := write(bundle, signed.JSON, 0o644); errors.Is(err, fs.ErrExist) {
		return nil, "", fmt.Errorf("%w; name another with --bundle, or remove it", err)
	} else if err != nil {
		return nil, "", err
	}
	a.noteSigned("an attestation of "+file, signed.Result)
	return signedFile{file, bundle, signed.Result}, bundle, nil
}

// fileDigest returns the SHA-256 of a file.
func fileDigest(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	return h.Sum(nil), nil
}
