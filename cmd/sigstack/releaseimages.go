package main

import (
	"github.com/spf13/pflag"

	"sigstack/internal/oci"
	"sigstack/internal/release"
)

// both is the storage of a release's images unless somebody says otherwise.
const both = "both"

// imagesFlags say which images belong to a release, and how they are signed.
type imagesFlags struct {
	list, style string
	registryFlags
}

func (i *imagesFlags) add(f *pflag.FlagSet) {
	f.StringVar(&i.list, "images", "", "`file` that lists the images (default: the tree's name with "+release.ImagesSuffix+", if it is there); "+release.NoImages+" leaves images out")
	f.StringVar(&i.style, "storage", both, "where a registry keeps signatures of images: referrer, tag or both")
	i.registryFlags.add(f)
}

func (i imagesFlags) config(a *app) (release.ImagesConfig, error) {
	c := release.ImagesConfig{List: i.list, Registry: i.open(a.now)}
	if i.style == both {
		return c, nil
	}
	c.Styles = []oci.Style{oci.Style(i.style)}
	if err := c.Styles[0].Check(); err != nil {
		return c, usagef("--storage %q: want %s, %s or %s", i.style, oci.Referrer, oci.Tag, both)
	}
	return c, nil
}

// printVerifiedImages tells of images, in numbers; the JSON report tells of each.
func (a *app) printVerifiedImages(rep *release.Report) {
	if rep.ImagesList == "" {
		return
	}
	children, passed := 0, 0
	for _, image := range rep.Images {
		if image.Child {
			children++
		}
		passed += len(image.Signatures)
	}
	a.printf("%s: %d images and %d below indexes, %d signatures verified\n",
		shown(rep.ImagesList), len(rep.Images)-children, children, passed)
}
