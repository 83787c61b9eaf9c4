package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
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
		return notRunning(dir)
	default:
		return &signing.UnreachableError{Service: "stack", URL: dir, Err: err, Next: "look for its reason in the log of the process"}
	}
}

// notRunning says where to ask instead.
func notRunning(dir string) error {
	down := &signing.UnreachableError{
		Service: "stack", URL: dir, Err: errors.New("it is not running"),
		Next: "start it, or name the directory of one that runs with --dir",
	}
	into, err := stack.Layout{Dir: dir}.SplitInto()
	if into != "" {
		down.Err = fmt.Errorf("it was split into processes, in %s", into)
		down.Next = "name the directory of one that runs with --dir, such as " + filepath.Join(into, "front")
	}
	return errors.Join(down, err)
}
