// Command sigstack is a whole private Sigstore in one binary: certificate
// authority, transparency log, CT log, timestamp authority, OIDC issuer and TUF
// trust root, and the client that signs and verifies with them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

func main() {
	end := profile()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	a.now, a.checkEvery = clock()
	code := a.run(ctx, os.Args[1:])
	stop()
	end()
	os.Exit(code)
}

// run executes one command line and returns its exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	code := exitCode(err, ctx.Err() != nil)
	if err != nil {
		a.printError(err, code)
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sigstack",
		Short: "A whole private Sigstore in one binary",
		Long: `sigstack is a whole private Sigstore in one binary: certificate authority,
transparency log, CT log, timestamp authority, OIDC issuer and TUF trust root,
and the client that signs and verifies with them.

Exit codes: 0 done, 1 refused or failed verification, 2 usage, 3 the stack is
unreachable, 4 a rotation waits, and the same command goes on with it, 130
interrupted before it was done.`,
		Example: `  sigstack up                                a test stack on this machine
  sigstack init --dir /var/lib/sigstack …    an operator's own`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	holdsOthers(root)
	root.PersistentFlags().StringVar(&a.format, "output", "text", "output `format`: text or json")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if a.format != "text" && a.format != "json" {
			return usagef("--output %q: want text or json", a.format)
		}
		return nil
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(
		a.upCommand(), a.initCommand(), a.serveCommand(), a.splitCommand(), a.reloadCommand(),
		a.tokenCommand(), a.signCommand(), a.attachCommand(), a.attestCommand(), a.verifyCommand(), a.verifyAttestationCommand(), a.vsaCommand(), a.sbomCommand(), a.releaseCommand(),
		a.tufCommand(),
		a.clientCommand(), a.statusCommand(), a.configCommand(), a.keysCommand(), a.logCommand(), a.dbCommand(), a.replicaCommand(), a.auditCommand(), a.compromiseCommand(), a.caCommand(), a.tsaCommand(), a.ctlogCommand(), a.rotateCommand(), a.versionCommand(),
	)
	addCobrasOwn(root)
	for _, cmd := range root.Commands() {
		usageErrors(cmd)
	}
	return root
}

// addCobrasOwn adds help and completion now rather than at execution, so that
// their mistakes are usage errors too.
func addCobrasOwn(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			holdsOthers(cmd)
			cmd.Example = "  sigstack completion bash > /etc/bash_completion.d/sigstack"
		case "help":
			cmd.Example = "  sigstack help release sign"
			cmd.Run, cmd.RunE = nil, helpFor
		}
	}
}

// helpFor prints the help of the command that args name.
func helpFor(cmd *cobra.Command, args []string) error {
	root := cmd.Root()
	found, rest, err := root.Find(args)
	if err != nil || found == nil || len(rest) > 0 {
		return usagef("there is no command %q; see %s --help", strings.Join(args, " "), root.CommandPath())
	}
	found.InitDefaultHelpFlag()
	return found.Help()
}

// usageErrors makes wrong argument counts usage errors, in cmd and below it.
func usageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usagef("%w; see %s --help", err, cmd.CommandPath())
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		usageErrors(sub)
	}
}

// group returns a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	holdsOthers(cmd)
	cmd.AddCommand(subs...)
	return cmd
}

// holdsOthers makes running cmd itself, or an unknown command below it, a usage
// error.
func holdsOthers(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.Join(cmd.Help(), usagef("%s needs a command", cmd.CommandPath()))
		}
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf(", did you mean %s", strings.Join(near, " or "))
		}
		return usagef("unknown command %q%s; see %s --help", args[0], hint, cmd.CommandPath())
	}
}

// errUsage marks errors of the command line itself.
var errUsage = errors.New("usage")

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

type usageError struct{ err error }

func (e *usageError) Error() string        { return e.err.Error() }
func (e *usageError) Unwrap() error        { return e.err }
func (e *usageError) Is(target error) bool { return target == errUsage }
