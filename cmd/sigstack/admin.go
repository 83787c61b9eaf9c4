package main

import (
	"context"
	"errors"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/signing"
	"sigstack/internal/stack"
)

// actTimeout is how long an answer of the admin channel may take.
const actTimeout = time.Minute

// ask gets path from the process that serves dir.
func ask(ctx context.Context, dir, path string, into any) error {
	return asking(ctx, dir, func(ctx context.Context, c *admin.Client) error { return c.Get(ctx, path, into) })
}

// act asks the process that serves dir for an act.
func act(ctx context.Context, dir, path string, in, into any) error {
	return asking(ctx, dir, func(ctx context.Context, c *admin.Client) error { return c.Post(ctx, path, in, into) })
}

func asking(ctx context.Context, dir string, do func(context.Context, *admin.Client) error) error {
	if err := wantStack(stack.Layout{Dir: dir}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	return fromAdmin(dir, do(ctx, admin.Dial(dir)))
}

// fromAdmin makes it a stack out of reach that nobody answers. What refuses to
// answer, or to act, says so itself.
func fromAdmin(dir string, err error) error {
	var refused *admin.RefusedError
	switch {
	case err == nil, errors.As(err, &refused), errors.Is(err, admin.ErrNotYours), errors.Is(err, admin.ErrOlder), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, admin.ErrNotRunning):
		return &signing.UnreachableError{Service: "stack", URL: dir, Err: errors.New("it is not running")}
	default:
		return &signing.UnreachableError{Service: "stack", URL: dir, Err: err}
	}
}
