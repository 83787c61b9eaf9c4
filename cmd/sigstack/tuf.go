package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/admin"
	"sigstack/internal/stack"
	"sigstack/internal/trust"
)

func (a *app) tufCommand() *cobra.Command {
	cmd := group("tuf", "Work with the TUF trust root", a.ceremonyCommand(), a.tufStatusCommand(), a.tufDiffCommand(), a.tufRefreshCommand())
	cmd.Long = `Work with the TUF trust root, from which clients learn whom to trust. Its root and
targets are signed by people, in ceremonies, with keys that lie offline; its snapshot
and timestamp by the process that serves it, all the time.`
	return cmd
}

// withTUF calls do with a channel for acts on the trust root of a directory: to the
// process that serves it, or else to this one, which opens it. One that waits for
// its first root is opened, too.
func (a *app) withTUF(ctx context.Context, f shardFlags, do func(context.Context, shardChannel) error) error {
	l := stack.Layout{Dir: f.dir}
	conf, err := loadConfig(l)
	if err != nil {
		return err
	}
	client := admin.Dial(f.dir)
	err = client.Get(ctx, stack.AdminTUF, nil)
	if !errors.Is(err, admin.ErrNotRunning) {
		return do(ctx, shardChannel{f.dir, client})
	}
	if into, err := l.SplitInto(); into != "" || err != nil {
		return errors.Join(notRunning(f.dir), err)
	}
	log, err := f.log.logger(a.err)
	if err != nil {
		return err
	}
	passphrase, err := f.passphrase.read(ctx)
	if err != nil {
		return err
	}
	nowhere, err := newListener(ctx)
	if err != nil {
		return err
	}
	privateFiles()
	err = stack.Act(ctx, stack.Options{
		Version: version, Dir: f.dir, Profile: conf.Profile, Listener: nowhere, BehindProxy: true, AwaitedRoot: true,
		Passphrase: passphrase, KMSPlugins: f.plugins.dir, Now: a.now, Log: log,
	}, func(ctx context.Context) error { return do(ctx, shardChannel{f.dir, client}) })
	return explainPassphrase(err)
}

func (a *app) tufStatusCommand() *cobra.Command {
	var f shardFlags
	var url string
	var tls tlsFlag
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say which keys sign the trust root, and until when it is valid",
		Long: `List the roles of the trust root: version, expiry, how many of its keys must sign,
and the keys' IDs. With --url what a stack serves is read over the network, and shown
as it stands there: it is not verified, and clients may refuse it.`,
		Example: `  sigstack tuf status --dir /var/lib/sigstack
  sigstack tuf status --url https://sigstack.corp.example --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if url != "" && cmd.Flags().Changed("dir") {
				return usagef("--dir and --url exclude each other: the one is asked here, the other over the network")
			}
			if url != "" {
				return a.tufStatusOfURL(cmd.Context(), strings.TrimSuffix(url, "/"), tls)
			}
			return a.withTUF(cmd.Context(), f, func(ctx context.Context, c shardChannel) error {
				var st stack.TUFStatus
				if err := c.Get(ctx, stack.AdminTUF, &st); err != nil {
					return err
				}
				a.result(st, func() { a.printTUF(st, f.dir) })
				return nil
			})
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&url, "url", "", "`URL` of a stack, instead of --dir")
	tls.add(cmd.Flags())
	return cmd
}

func (a *app) printTUF(st stack.TUFStatus, dir string) {
	if st.AwaitsRoot {
		a.printf("%s has no trust root yet\n", dir)
		a.printf("next  sigstack tuf ceremony start --dir %s --folder FOLDER --root-key FILE … --root-threshold N\n", dir)
		return
	}
	a.printf("first root  sha256:%s\n\n", st.RootSHA256)
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	a.printTo(w, "ROLE\tVERSION\tSIGNATURES\tEXPIRES\tIN\n")
	for _, r := range st.Roles {
		a.printTo(w, "%s\t%d\t%d of %d\t%s\t%s\n", r.Role, r.Version, r.Threshold, len(r.Keys), stamp(r.Expires), countdown(r, a.now()))
	}
	_ = w.Flush() // as for any output: there is nowhere left to report it
	for _, r := range st.Roles {
		if warning := roleWarning(r, a.now()); warning != "" {
			a.printf("%s\n", warning)
		}
	}
	a.printf("\n")
	for _, r := range st.Roles {
		for _, k := range r.Keys {
			a.printf("%-9s  key %s\n", r.Role, k.ID)
		}
	}
}

// countdown words how long a role lives and, from a third of its life on, how near
// its end is.
func countdown(r stack.TUFRole, now time.Time) string {
	left := r.Expires.Sub(now)
	words := until(left)
	if stage := stageOf(r, now); stage == trust.Ageing || stage == trust.Ending {
		words += " (" + stage.String() + ")"
	}
	return words
}

func stageOf(r stack.TUFRole, now time.Time) trust.Stage {
	return trust.StageOf(time.Duration(r.Life)*time.Second, r.Expires.Sub(now))
}

// roleWarning says of a role, in the last third and the last tenth of its life, what
// is to be done; "" before. The process renews what it signs by itself long before.
func roleWarning(r stack.TUFRole, now time.Time) string {
	stage := stageOf(r, now)
	if stage == trust.Fresh {
		return ""
	}
	words := "a third of its life, or less, is left"
	switch stage {
	case trust.Ending:
		words = "a tenth of its life, or less, is left"
	case trust.Expired:
		words = "EXPIRED"
	}
	next := "sigstack tuf ceremony start --renew"
	if r.Role == "snapshot" || r.Role == "timestamp" {
		next = "the process that serves it should have signed it again; see its log, or sigstack tuf refresh"
	}
	return fmt.Sprintf("warning    %s: %s: %s", r.Role, words, next)
}

// until words how long something lives.
func until(left time.Duration) string {
	switch {
	case left <= 0:
		return "EXPIRED"
	case left < time.Hour:
		return left.Truncate(time.Second).String()
	case left < 48*time.Hour:
		return fmt.Sprintf("%d hours", int(left.Hours()))
	}
	return fmt.Sprintf("%d days", int(left.Hours())/24)
}

func (a *app) tufRefreshCommand() *cobra.Command {
	var f shardFlags
	cmd := &cobra.Command{
		Use:   "refresh",
		Short: "Sign snapshot and timestamp again now",
		Long: `Sign snapshot and timestamp again, due or not. The process that serves a directory
does so by itself when a third of their life has passed; this is for a directory that
nothing serves, such as that of a mirror which a courier carries to clients, and for
giving a courier metadata that lives for as long as it can.`,
		Example: "  sigstack tuf refresh --dir /var/lib/sigstack --passphrase-file FILE",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withTUF(cmd.Context(), f, func(ctx context.Context, c shardChannel) error {
				var st stack.TUFStatus
				if err := c.Post(ctx, stack.AdminTUFRefresh, nil, &st); err != nil {
					return err
				}
				a.result(st, func() {
					a.printf("signed again; next after %s\n", stamp(st.NextRefresh))
				})
				return nil
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}
