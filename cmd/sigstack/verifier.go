package main

import (
	"context"
	"strings"

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
	v.addOthers(f)
	f.BoolVar(&v.timestamped, "require-timestamp", false, "demand an RFC 3161 timestamp; those there are must always be right")
}

// verifier is what verifierFlags say.
type verifier struct {
	trusted *signing.TrustRoot
	id      *signing.Identity
}

// load reads what the flags name, and checks that arg can be verified at all.
func (v verifierFlags) load(ctx context.Context, a *app, arg string) (verifier, error) {
	return v.loadIf(ctx, a, func() error { return wantTarget(arg) })
}

// loadIf is load with another check than that of arguments that are files or images.
func (v verifierFlags) loadIf(ctx context.Context, a *app, check func() error) (verifier, error) {
	v.now = a.now
	if v.offline && isKeyURI(v.key) && !strings.HasPrefix(v.key, tokenScheme) {
		return verifier{}, usagef("--offline asks no key service: name a file with the public key, which sigstack keys or the service's own tools print")
	}
	id, err := v.identity()
	if err != nil {
		return verifier{}, err
	}
	if err := check(); err != nil {
		return verifier{}, err
	}
	kit, err := v.kit(ctx, a)
	if err != nil {
		return verifier{}, err
	}
	kit.Trusted.DemandTimestamp = v.timestamped
	return verifier{kit.Trusted, id}, nil
}
