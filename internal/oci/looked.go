package oci

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigstack/internal/signing"
)

// Looked says where signatures or attestations of an image were looked for, in each
// style, and what was there.
type Looked struct {
	Tag       string // sha256-<hex>.sig or .att
	ByTag     int    // layers there that may be one
	Referrers int    // manifests that refer to the image, of any type
	API       bool   // by the referrers API; false: in the index at the tag Fallback
	Fallback  string // sha256-<hex>
	Bundles   int    // of the referrers: those that hold a bundle of what was looked for
	// Beside are other tags of the image that are there, though nothing was looked for
	// at them: the fallback tag where there is the API, and those of other suffixes.
	Beside []string

	unread bool // the registry did not let all of that be read
}

// String tells it all in half a sentence.
func (l Looked) String() string {
	tag := "there is no tag " + l.Tag
	if l.ByTag > 0 {
		tag = fmt.Sprintf("tag %s holds %d", l.Tag, l.ByTag)
	}
	where := "the referrers API lists"
	if !l.API {
		where = "the registry has no referrers API, and the fallback tag " + l.Fallback + " lists"
	}
	s := fmt.Sprintf("%s; %s %d referrers", tag, where, l.Referrers)
	if len(l.Beside) > 0 {
		s += "; there is tag " + strings.Join(l.Beside, " and tag ")
	}
	return s
}

// lost tells how a copy may have lost what is missing; empty if nothing is.
func (l Looked) lost() string {
	switch {
	case l.Tag == "" || l.unread || l.ByTag > 0 && l.Bundles > 0:
		return ""
	case l.API && l.Referrers == 0 && slices.Contains(l.Beside, l.Fallback):
		return "its referrers were copied by the fallback tag, which a registry with the referrers API does not look at: copy them as manifests, as release promote does"
	case l.ByTag > 0:
		return "all that there is is by tag: copying an image with its tags loses referrers; release promote copies both"
	case l.Bundles > 0:
		return "all that there is are referrers: copying an image with its referrers loses tags such as " + l.Tag + "; release promote copies both"
	}
	return "if it was signed before it was copied here, the copy lost that: copying by tag loses referrers, and copying referrers loses tags; release promote copies both"
}

// beside looks for what a search has no use for, to explain why it found nothing.
// What cannot be read is not told of: it explains nothing.
func (r *Registry) beside(ctx context.Context, s *search) {
	suffixes := []string{signatureSuffix, attestationSuffix, sbomSuffix}
	if s.at.API {
		suffixes = append(suffixes, "")
	}
	for _, suffix := range suffixes {
		tag := s.img.tag(suffix)
		if suffix == s.suffix {
			continue
		}
		if digest, err := r.digestAt(ctx, tag); err == nil && digest.Hex != "" {
			s.at.Beside = append(s.at.Beside, tag.TagStr())
		}
	}
}

// printableTypes lists types in the words of strangers, each preceded by a separator.
func printableTypes(first string, types []string) (s string) {
	for i, t := range types {
		if i == maxReasons {
			return s + fmt.Sprintf(" and %d more", len(types)-i)
		}
		s += map[bool]string{true: first, false: ", "}[i == 0] + signing.Printable(t, maxType)
	}
	return s
}
