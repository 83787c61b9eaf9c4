package main

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sigstack/internal/durable"
	"sigstack/internal/oci"
	"sigstack/internal/sbom"
)

func (a *app) attachCommand() *cobra.Command {
	var flags registryFlags
	var replace bool
	cmd := &cobra.Command{
		Use:   "sbom FILE oci://IMAGE",
		Short: "Store an SBOM beside an image, by tag",
		Long: `Store an SBOM beside an image, or any other artifact in a registry, at the tag
sha256-….sbom, where cosign 2 looks for it. It is SPDX 2, as tags and values or JSON,
or CycloneDX as JSON.

An attached SBOM is an artifact of its own: it is signed like one, by sigstack sign,
and its signature does not say which image it describes. An attestation does, and is
the better way: sigstack attest --type spdxjson or cyclonedx.`,
		Example: `  sigstack attach sbom app.spdx.json oci://registry.example/app:v1
  sigstack sign oci://registry.example/app:sha256-….sbom
  sigstack verify --client kit --certificate-identity demo@sigstack.local \
      --certificate-oidc-issuer http://localhost:8080/dex \
      --attachment sbom --save app.spdx.json oci://registry.example/app:v1`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.attachSBOM(cmd.Context(), flags, args[0], args[1], replace)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&replace, "replace", false, "put it in the place of another SBOM that is attached")
	flags.add(f)
	return group("attach", "Store what goes with an image beside it", cmd)
}

func (a *app) attachSBOM(ctx context.Context, flags registryFlags, file, image string, replace bool) error {
	ref, ok := strings.CutPrefix(image, imagePrefix)
	if !ok {
		return usagef("%s is no image; an image is named oci://REGISTRY/NAME:TAG", image)
	}
	if err := wantTarget(image); err != nil {
		return err
	}
	content, err := readGiven(file, oci.MaxSBOM)
	if err != nil {
		return err
	}
	mediaType, err := sbomType(content)
	if err != nil {
		return usagef("%s: %w", file, err)
	}
	attached, err := flags.open(a.now).AttachSBOM(ctx, ref, content, mediaType, replace)
	if errors.Is(err, oci.ErrAttached) {
		return usagef("%w; --replace puts this one in its place", err)
	}
	if err != nil {
		return err
	}
	a.notef("attached %s to %s as %s; it is not signed: sigstack sign %s%s\n",
		shown(file), attached.To, attached.MediaType, imagePrefix, attached.Image)
	a.result(attached, func() { a.printf("%s\n", attached.Tag) })
	return nil
}

// sbomType tells the media type of an SBOM, which has to be one.
func sbomType(content []byte) (string, error) {
	d, err := sbom.Parse(content)
	switch {
	case err != nil:
		return "", err
	case strings.HasPrefix(d.Format, "CycloneDX"):
		return oci.CycloneDXJSON, nil
	case bytes.HasPrefix(bytes.TrimSpace(content), []byte("{")):
		return oci.SPDXJSON, nil
	}
	return oci.SPDXText, nil
}

// attachmentFlags say that what is attached to an image is meant instead of it.
type attachmentFlags struct{ attachment, save string }

func (f *attachmentFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.attachment, "attachment", "", "verify what is attached to the image instead: sbom, which cosign 2 attaches too")
	flags.StringVar(&f.save, "save", "", "`file` to write the SBOM to, once it is verified; with --attachment")
}

// check makes flags that would have no effect usage errors.
func (f attachmentFlags) check(arg string, recursive bool) error {
	switch {
	case f.attachment == "" && f.save != "":
		return usagef("--save goes with --attachment sbom")
	case f.attachment == "":
		return nil
	case f.attachment != "sbom":
		return usagef("--attachment %q: want sbom", f.attachment)
	case !isImage(arg):
		return usagef("--attachment is for images; an image is named oci://REGISTRY/NAME:TAG")
	case recursive:
		return usagef("--attachment sbom is one SBOM, of the image itself: not with --recursive")
	}
	return nil
}

// verifiedAttachment is an SBOM that passed, with the image that it is attached to.
type verifiedAttachment struct {
	oci.Verified
	To        string `json:"attached_to"`
	MediaType string `json:"media_type"`
	Saved     string `json:"saved,omitempty"`
}

// verifyAttachment verifies the SBOM that is attached to what ref names, reads it and
// saves it where the flags say.
func (a *app) verifyAttachment(ctx context.Context, f attachmentFlags, registry *oci.Registry, ref string, c verifier, annotations map[string]string) error {
	found, err := registry.AttachedSBOM(ctx, ref)
	if err != nil {
		return err
	}
	got, err := registry.Verify(ctx, found.Image, c.trusted, c.id, annotations)
	if err != nil {
		return err
	}
	content, err := registry.ReadSBOM(ctx, found)
	if err != nil {
		return err
	}
	if f.save != "" {
		if err := durable.WriteFile(f.save, content, 0o644); err != nil {
			return err
		}
	}
	a.result(verifiedAttachment{got, found.To, found.MediaType, f.save}, func() {
		a.printImage(got, "signature")
		a.printf("  sbom        %s, %d bytes, at the tag of %s\n", shown(found.MediaType), len(content), found.To)
	})
	a.notef("the signature is of the SBOM alone: only its tag says that it describes %s; an SBOM attestation would prove it\n", found.To)
	return nil
}
