package stack

import (
	"context"
	"log/slog"
	"time"

	"sigstack/internal/fleet"
	"sigstack/services/oidc/attempts"
)

// sharedAttempts counts the issuer's logins for all replicas, in their database.
type sharedAttempts struct {
	in  *fleet.Attempts
	log *slog.Logger
}

// Take is attempts.Shared's.
func (a sharedAttempts) Take(ctx context.Context, buckets []attempts.Bucket, home string) (bool, time.Duration, error) {
	return a.in.Take(ctx, bucketsOf(buckets), home)
}

// Give is attempts.Shared's.
func (a sharedAttempts) Give(ctx context.Context, buckets []attempts.Bucket) {
	if err := a.in.Give(ctx, bucketsOf(buckets)); err != nil {
		a.log.WarnContext(ctx, "a login that did not fail counts as one that did", slog.Any("error", err))
	}
}

// NoteHome is attempts.Shared's.
func (a sharedAttempts) NoteHome(ctx context.Context, home string, life time.Duration) {
	if err := a.in.NoteHome(ctx, home, life); err != nil {
		a.log.WarnContext(ctx, "where an account logs in could not be noted", slog.Any("error", err))
	}
}

func bucketsOf(in []attempts.Bucket) (out []fleet.Bucket) {
	for _, b := range in {
		out = append(out, fleet.Bucket(b))
	}
	return out
}
