// Command releasetimes signs and verifies release trees with bin/sigstack, and every
// file of them with cosign, one after the other, and prints how long each took and what
// memory. It needs a stack and a registry that run already.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	var m measurement
	flag.StringVar(&m.bin, "bin", "bin/sigstack", "the `program`")
	flag.StringVar(&m.cosign, "cosign", "bin/clients/cosign-v3", "cosign 3")
	flag.StringVar(&m.stack, "stack", "", "data `directory` of the stack, made by up")
	flag.StringVar(&m.url, "url", "", "`URL` of the stack")
	flag.StringVar(&m.registry, "registry", "", "`HOST:PORT` of the registry")
	flag.StringVar(&m.work, "work", "", "`directory` to work in")
	flag.IntVar(&m.files, "files", 500, "`number` of files to sign")
	flag.IntVar(&m.images, "images", 40, "`number` of images to sign, indexes among them")
	flag.IntVar(&m.rounds, "rounds", 3, "`number` of rounds")
	flag.IntVar(&m.large, "large", 5000, "`number` of files of the tree whose memory is measured; 0: none")
	flag.IntVar(&m.stackPID, "stack-pid", 0, "`process` of the stack, whose CPU time is told; 0: it is not")
	flag.IntVar(&m.registryPID, "registry-pid", 0, "`process` of the registry, likewise")
	flag.Parse()
	m.out = os.Stdout
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := m.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "releasetimes:", err)
		os.Exit(1)
	}
}

func (m *measurement) check() error {
	if m.stack == "" || m.url == "" || m.registry == "" || m.work == "" || m.rounds < 1 {
		return errors.New("want -stack, -url, -registry, -work and at least one round")
	}
	return nil
}
