package main

import (
	"context"

	"github.com/spf13/pflag"

	"sigstack/internal/signing"
)

// verifierFlags say whom to trust and who must have signed.
type verifierFlags struct {
	clientFlags
	identityFlags
	timestamped bool
}

func (v *verifierFlags) add(f *pflag.FlagSet) {
	v.clientFlags.add(f)
	v.identityFlags.add(f)
	v.addKey(f)
	f.BoolVar(&v.timestamped, "require-timestamp", false, "demand an RFC 3161 timestamp; those there are must always be right")
}

// verifier is what verifierFlags say.
type verifier struct {
	trusted *signing.TrustRoot
	id      *signing.Identity
}

// load reads what the flags name, and checks that arg can be verified at all.
func (v verifierFlags) load(ctx context.Context, a *app, arg string) (verifier, error) {
	id, err := v.identity()
	if err != nil {
		return verifier{}, err
	}
	if err := wantTarget(arg); err != nil {
		return verifier{}, err
	}
	kit, err := v.kit(ctx, a)
	if err != nil {
		return verifier{}, err
	}
	kit.Trusted.DemandTimestamp = v.timestamped
	return verifier{kit.Trusted, id}, nil
}
