package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"sigstack/internal/stack"
)

func (a *app) reloadCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make a running stack read its files again",
		Long: `Ask the process that serves a directory, over the directory's admin.sock, to
read again what can change without a restart: token issuers with their policies and
files, the chain and key of the certificate authority, and the files of TLS; all of
it or nothing. Nothing is taken while config.yaml or a file that it names has a
problem; what config.yaml says that is not in force yet is named, and waits for a
restart, or for its time: a chain that not every client has yet is taken by itself
when they have it. A hangup signal to serve does the same, and so does a change of config.yaml
or of these files, within seconds. Exit code 1 if the process refuses, 3 if it does
not run.`,
		Example: "  sigstack reload --dir /var/lib/sigstack",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var answer stack.Reloaded
			if err := act(cmd.Context(), dir, stack.AdminReload, nil, &answer); err != nil {
				return err
			}
			a.result(answer, func() { a.printReloaded(answer) })
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultDir, "data `directory` of a stack on this machine")
	return cmd
}

func (a *app) printReloaded(r stack.Reloaded) {
	for _, what := range r.Changed {
		a.printf("took %s\n", what)
	}
	if len(r.Changed) == 0 {
		a.printf("nothing new to take\n")
	}
	for _, what := range r.Waiting {
		a.printf("%s\n", what)
	}
	if len(r.NeedsRestart) > 0 {
		a.printf("a restart is needed for what config.yaml says in: %s\n", strings.Join(r.NeedsRestart, ", "))
	}
}

// hangups collects hangup signals, which would end the process otherwise.
func hangups() (received <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// hangupsOfTests are hangups, but for a stack that was started from a terminal and
// ends when that does.
func (a *app) hangupsOfTests() (received <-chan os.Signal, stop func()) {
	if isTerminal(a.in) {
		return nil, func() {}
	}
	return hangups()
}

// reloadOn reloads s at each signal until stop is called.
func reloadOn(ctx context.Context, received <-chan os.Signal, s *stack.Stack) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-received:
			}
			_, _ = s.Reload(ctx, "hangup") // the stack logs what comes of it
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}
