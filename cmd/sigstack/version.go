package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version, and those of the main parts",
		Example: "  sigstack version\n  sigstack version --output json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versionInfo()
			a.result(v, func() {
				a.printf("sigstack %s %s %s\n", v.Version, v.Go, v.Platform)
				for _, p := range v.Parts {
					a.printf("  %s %s\n", p.Path, p.Version)
				}
			})
			return nil
		},
	}
}

type versions struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Parts    []part `json:"parts"`
}

type part struct {
	Path    string `json:"path"`
	Version string `json:"version"`
}

// mainParts are the modules that decide the behaviour of a service.
var mainParts = map[string]bool{
	"github.com/google/trillian":                    true,
	"github.com/google/certificate-transparency-go": true,
	"github.com/dexidp/dex":                         true,
	"github.com/theupdateframework/go-tuf/v2":       true,
	"github.com/sigstore/sigstore-go":               true,
	"github.com/cockroachdb/pebble/v2":              true,
}

func versionInfo() versions {
	v := versions{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Parts: []part{}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, dep := range info.Deps {
		if mainParts[dep.Path] {
			v.Parts = append(v.Parts, part{dep.Path, dep.Version})
		}
	}
	return v
}
