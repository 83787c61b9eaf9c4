// Command conformance answers the protocol by which the Sigstore client
// conformance suite drives a client (docs/cli_protocol.md of
// sigstore/sigstore-conformance), with this product's signing and verification.
// It decides nothing: what is signed and accepted is the business of signing.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}
