package main

import "context"

// await returns what read returns, or the error of ctx if that ends first. Nothing
// ends a read from a pipe or a terminal into which nobody writes, nor the opening
// of such a pipe: it is left behind then, in a process that is about to end.
func await[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		value, err := read()
		done <- answer{value, err}
	}()
	select {
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	case a := <-done:
		return a.value, a.err
	}
}
