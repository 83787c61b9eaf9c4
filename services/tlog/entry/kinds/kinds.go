// Package kinds has every kind of entry of the Rekor v1 protocol (contract:
// rekor-v1.md §8): the main ones are entry's own, the others it adapts from the
// reference server's library, which it guards against what it is not made for.
// Which of them a log takes is the operator's choice.
package kinds

import (
	"fmt"
	"maps"
	"slices"

	"github.com/sigstore/rekor/pkg/generated/models"
	alpine "github.com/sigstore/rekor/pkg/types/alpine/v0.0.1"
	cose "github.com/sigstore/rekor/pkg/types/cose/v0.0.1"
	helm "github.com/sigstore/rekor/pkg/types/helm/v0.0.1"
	jar "github.com/sigstore/rekor/pkg/types/jar/v0.0.1"
	rekord "github.com/sigstore/rekor/pkg/types/rekord/v0.0.1"
	rfc3161 "github.com/sigstore/rekor/pkg/types/rfc3161/v0.0.1"
	rpm "github.com/sigstore/rekor/pkg/types/rpm/v0.0.1"
	tuf "github.com/sigstore/rekor/pkg/types/tuf/v0.0.1"

	"sigstack/services/tlog/entry"
)

// Default returns the kinds that a log takes unless told otherwise: those that
// clients in use send.
func Default() []string {
	return []string{"dsse", "hashedrekord", "helm", "intoto", "rekord"}
}

// All returns every kind, sorted.
func All() []string {
	var names []string
	for t := range table() {
		names = append(names, t.Kind)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Types returns the entry types of these kinds. It fails for a kind that there
// is not.
func Types(names []string) (entry.Types, error) {
	out, all := entry.Types{}, table()
	for _, name := range names {
		if !slices.Contains(All(), name) {
			return nil, fmt.Errorf("kind of entry %q is not known, want some of %q", name, All())
		}
	}
	for t, c := range all {
		if slices.Contains(names, t.Kind) {
			out[t] = c
		}
	}
	return out, nil
}

func table() entry.Types {
	out := entry.Types{}
	maps.Copy(out, entry.DefaultTypes())
	for name, k := range adapted() {
		out[entry.Type{Kind: name, Version: "0.0.1"}] = k.canonicalize
	}
	return out
}

// adapted are the kinds of the library, all of version 0.0.1.
func adapted() map[string]kind {
	return map[string]kind{
		"rekord": {
			rekord.NewEntry, func(s any) models.ProposedEntry { return &models.Rekord{Spec: s} },
			checkRekord, pgpAt("signature", "publicKey", "content"),
		},
		"helm": {
			helm.NewEntry, func(s any) models.ProposedEntry { return &models.Helm{Spec: s} },
			checkHelm, pgpAt("publicKey", "content"),
		},
		"rpm": {
			rpm.NewEntry, func(s any) models.ProposedEntry { return &models.Rpm{Spec: s} },
			checkRPM, pgpAt("publicKey", "content"),
		},
		"alpine": {
			alpine.NewEntry, func(s any) models.ProposedEntry { return &models.Alpine{Spec: s} },
			checkAlpine, nil,
		},
		"jar": {
			jar.NewEntry, func(s any) models.ProposedEntry { return &models.Jar{Spec: s} },
			checkJAR, logSigner,
		},
		"cose": {
			cose.NewEntry, func(s any) models.ProposedEntry { return &models.Cose{Spec: s} },
			checkCOSE, nil,
		},
		"rfc3161": {
			rfc3161.NewEntry, func(s any) models.ProposedEntry { return &models.Rfc3161{Spec: s} },
			nil, nil,
		},
		"tuf": {
			tuf.NewEntry, func(s any) models.ProposedEntry { return &models.TUF{Spec: s} },
			checkTUF, nil,
		},
	}
}
