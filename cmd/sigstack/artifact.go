package main

import "sigstack/internal/oci"

// printKind says what was verified, if it is anything but an image.
func (a *app) printKind(got oci.Verified) {
	if got.Kind == oci.Image {
		return
	}
	if got.ArtifactType == "" {
		a.printf("  kind        %s\n", got.Kind)
		return
	}
	a.printf("  kind        %s, %s\n", got.Kind, shown(got.ArtifactType))
}
