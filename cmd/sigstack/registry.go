package main

import (
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/pflag"

	"sigstack/internal/oci"
)

// imagePrefix marks an argument as an image in a registry.
const imagePrefix = "oci://"

// registryFlags say how to speak with registries.
type registryFlags struct{ insecure bool }

func (r *registryFlags) add(f *pflag.FlagSet) {
	f.BoolVar(&r.insecure, "allow-insecure-registry", false, "speak plain HTTP with a registry that has no TLS; with this machine's that needs no permission")
}

// open returns a client with the credentials of docker's configuration.
func (r registryFlags) open(now func() time.Time) *oci.Registry {
	return oci.New(oci.Options{Keychain: authn.DefaultKeychain, AllowHTTP: r.insecure, Now: now})
}

// storageFlag says where a registry keeps what is signed.
type storageFlag struct{ style string }

func (s *storageFlag) add(f *pflag.FlagSet) {
	f.StringVar(&s.style, "storage", "", "where a registry keeps it: referrer, as cosign 3 does it, or tag, as cosign 2 (default referrer)")
}

func (s storageFlag) storage() (oci.Style, error) {
	switch style := oci.Style(s.style); style {
	case "":
		return oci.Referrer, nil
	case oci.Referrer, oci.Tag:
		return style, nil
	}
	return "", usagef("--storage %q: want %s or %s", s.style, oci.Referrer, oci.Tag)
}

// annotationFlag is a list of key=value pairs.
type annotationFlag struct{ pairs []string }

func (n *annotationFlag) add(f *pflag.FlagSet, usage string) {
	f.StringArrayVarP(&n.pairs, "annotation", "a", nil, usage)
}

func (n annotationFlag) annotations() (map[string]string, error) {
	out := map[string]string{}
	for _, pair := range n.pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usagef("--annotation %q: want key=value", pair)
		}
		if _, twice := out[key]; twice {
			return nil, usagef("--annotation %s is given twice", key)
		}
		out[key] = value
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// wantTarget makes anything but a regular file, or a reference with its prefix, a
// usage error.
func wantTarget(arg string) error {
	ref, ok := strings.CutPrefix(arg, imagePrefix)
	if !ok {
		return wantFile(arg)
	}
	if err := oci.CheckReference(ref); err != nil {
		return usagef("%w", err)
	}
	return nil
}

func isImage(arg string) bool { return strings.HasPrefix(arg, imagePrefix) }
