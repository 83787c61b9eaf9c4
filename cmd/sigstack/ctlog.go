package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

func (a *app) ctlogCommand() *cobra.Command {
	cmd := group("ctlog", "Work with the certificate transparency logs", a.ctListCommand(), a.ctPrepareCommand(), a.ctPublishCommand(), a.ctDropCommand())
	cmd.Long = `Work with the certificate transparency logs. A further one is added while the stack
is served, or while nothing serves it, with the passphrase of its keys: prepare makes
its key and tree and prints what belongs into config.yaml, publish puts it into the
trust material. The stack uses it when config.yaml names it and every client knows it.`
	return cmd
}

func (a *app) ctListCommand() *cobra.Command {
	var f shardFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the CT logs",
		Long: `List the CT logs, of this stack and of others, in the order of config.yaml, and
behind them those that are prepared: state, place among those that the CA asks, how
many entries one of this stack has, and the log ID. Exit code 3 if the stack is split
and its process with the logs does not run.`,
		Example: "  sigstack ctlog list --dir /var/lib/sigstack\n  sigstack ctlog list --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withActs(cmd.Context(), f, true, func(ctx context.Context, c shardChannel) error {
				var list stack.CTLogList
				if err := c.Get(ctx, stack.AdminCTLogs, &list); err != nil {
					return err
				}
				a.result(list, func() { a.printCTLogs(list) })
				return nil
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (a *app) printCTLogs(list stack.CTLogList) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	a.printTo(w, "URL\tSTATE\tASKED\tENTRIES\tKNOWN TO ALL\tLOG ID\n")
	for _, l := range list.Logs {
		asked, entries, known := "-", "-", "-"
		if l.Asked > 0 {
			asked = fmt.Sprint(l.Asked)
		}
		if l.Own && l.State != stack.CTLogPreparing && l.State != stack.CTLogPrepared {
			entries = fmt.Sprint(l.Size)
		}
		if !l.Distributed.IsZero() {
			known = stamp(l.Distributed)
		}
		a.printTo(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.URL, l.State, asked, entries, known, l.LogID)
	}
	_ = w.Flush() // as for any output: there is nowhere left to report it
}

// preparedLog is a CT log as config.yaml wants it, and as JSON for programs.
type preparedLog struct {
	Key           string    `json:"key"`
	TreeID        int64     `json:"tree_id,string"`
	Prefix        string    `json:"prefix"`
	NotAfterStart string    `json:"not_after_start,omitempty"`
	NotAfterLimit string    `json:"not_after_limit,omitempty"`
	State         string    `json:"state"`
	LogID         string    `json:"log_id"`
	Distributed   time.Time `json:"distributed,omitzero"`
}

func (a *app) ctPrepareCommand() *cobra.Command {
	var f shardFlags
	var order stack.CTLogOrder
	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Make the key and the tree of a further CT log",
		Long: `Make the key and the tree of a further CT log, and print what belongs into section
ctlog of config.yaml: of one that takes the place of the present one or, with
--not-after-start and --not-after-limit, for the certificates of a time. Nothing knows
of the log before sigstack ctlog publish. A prepare that was interrupted, or is
repeated, finds what is there.

The key is a file unless --key-uri says where it lives; one of that name that is
there already is taken. Exit code 1 if the stack refuses.`,
		Example: `  sigstack ctlog prepare --dir /var/lib/sigstack
  sigstack ctlog prepare --dir /var/lib/sigstack --prefix ct2028 \
      --not-after-start 2028-01-01T00:00:00Z --not-after-limit 2029-01-01T00:00:00Z`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.ctPrepare(cmd.Context(), f, order) },
	}
	f.add(cmd.Flags())
	fl := cmd.Flags()
	fl.StringVar(&order.Prefix, "prefix", "", "the log's first path `element` (default: ct2, ct3, …)")
	fl.StringVar(&order.NotAfterStart, "not-after-start", "", "`time` (RFC 3339) from which on certificates end that it takes (default: no bound)")
	fl.StringVar(&order.NotAfterLimit, "not-after-limit", "", "`time` before which they end (default: no bound)")
	fl.StringVar(&order.URI, "key-uri", "", "`URI` where the log's key lives (default: a file in DIR/keys)")
	fl.BoolVar(&order.Create, "create-key", false, "make a key at --key-uri if there is none")
	return cmd
}

var ctPrefix = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,50}$`)

func checkCTOrder(order stack.CTLogOrder) error {
	if order.Prefix != "" && !ctPrefix.MatchString(order.Prefix) {
		return usagef("--prefix %q: want one path element of a-z, 0-9 and -", order.Prefix)
	}
	if _, err := time.Parse(time.RFC3339, order.NotAfterStart); err != nil && order.NotAfterStart != "" {
		return usagef("--not-after-start %q: want a time such as 2028-01-01T00:00:00Z", order.NotAfterStart)
	}
	if _, err := time.Parse(time.RFC3339, order.NotAfterLimit); err != nil && order.NotAfterLimit != "" {
		return usagef("--not-after-limit %q: want a time such as 2029-01-01T00:00:00Z", order.NotAfterLimit)
	}
	if order.Create && order.URI == "" {
		return usagef("--create-key says what to do about --key-uri, which is not given")
	}
	if order.URI != "" {
		if err := keys.CheckURI(order.URI); err != nil {
			return usagef("--key-uri: %w", err)
		}
	}
	return nil
}

func (a *app) ctPrepare(ctx context.Context, f shardFlags, order stack.CTLogOrder) error {
	if err := checkCTOrder(order); err != nil {
		return err
	}
	return a.withActs(ctx, f, true, func(ctx context.Context, c shardChannel) error {
		var draft stack.CTLogDraft
		if err := c.Post(ctx, stack.AdminCTLogPrepare, order, &draft); err != nil {
			return err
		}
		l := draft.Log
		text, err := ctConfig(l)
		if err != nil {
			return err
		}
		out := preparedLog{l.Key, l.TreeID, l.Prefix, l.NotAfterStart, l.NotAfterLimit, l.State, l.LogID, l.Distributed}
		a.result(out, func() {
			a.printf("CT log %s: %s, with key %s and tree %d\n", l.URL, l.State, l.Key, l.TreeID)
			a.printf("\nNow:\n  1. sigstack ctlog publish --dir %s\n  2. put this into config.yaml, and reload:\n\n%s", f.dir, text)
		})
		return nil
	})
}

// ctConfig is what belongs into config.yaml of a log that was prepared.
func ctConfig(l stack.CTLogStatus) (string, error) {
	shard := config.CTShard{Key: l.Key, TreeID: l.TreeID, Prefix: l.Prefix, NotAfterStart: l.NotAfterStart, NotAfterLimit: l.NotAfterLimit}
	text, err := yaml.Marshal([]config.CTShard{shard})
	if err != nil {
		return "", fmt.Errorf("print the log: %w", err)
	}
	var b strings.Builder
	b.WriteString("ctlog:\n")
	if l.NotAfterStart == "" && l.NotAfterLimit == "" {
		b.WriteString("  first: " + l.Prefix + "\n")
	}
	b.WriteString("  shards:\n")
	for line := range strings.Lines(string(text)) {
		b.WriteString("    " + line)
	}
	return b.String(), nil
}

func (a *app) ctPublishCommand() *cobra.Command {
	var f shardFlags
	var p targetsFlags
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Put the CT logs that clients do not know into the trust material",
		Long: `Put the CT logs that are prepared, and those of config.yaml that clients do not know,
into the trust material: trusted_root.json, the TUF targets and the client kit. The
key that signs TUF's targets is needed for that, from DIR/offline or where that was
moved; this command uses it itself, and the process that serves never sees it. It is
refused if anything else would change, or a published log would change or go. Where
several have to sign, --ceremony makes a folder for them, and the same command goes
on when they have.

The stack uses the logs when every client knows them: the longest life of a TUF
timestamp later, a day unless said otherwise; seconds for a test stack. Hand the new
kit to clients that have it as files; others ask by themselves. With nothing to
publish it says so, with exit code 0.`,
		Example: `  sigstack ctlog publish --dir /var/lib/sigstack \
      --offline /media/offline --offline-passphrase-file /media/passphrase`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.ctPublish(cmd.Context(), f, p) },
	}
	f.add(cmd.Flags())
	p.add(cmd)
	return cmd
}

// publishedLogs are CT logs that were published.
type publishedLogs struct {
	Published   []string  `json:"published"` // IDs in hex
	Distributed time.Time `json:"distributed,omitzero"`
}

func (a *app) ctPublish(ctx context.Context, f shardFlags, p targetsFlags) error {
	signer, err := a.targetsSigner(ctx, f, p)
	if err != nil {
		return err
	}
	return a.withActs(ctx, f, true, func(ctx context.Context, c shardChannel) error {
		out, err := a.publishCTLogs(ctx, c, signer)
		if err != nil {
			return err
		}
		a.result(out, func() {
			if len(out.Published) == 0 {
				a.printf("nothing to publish: clients know every CT log\n")
				return
			}
			for _, id := range out.Published {
				a.printf("published CT log %s\n", id)
			}
			a.printf("every client knows it from %s on\n", stamp(out.Distributed))
		})
		return nil
	})
}

// publishCTLogs drafts what publishes CT logs, gets it signed, and has it published.
func (a *app) publishCTLogs(ctx context.Context, c shardChannel, signer *targetsSigner) (publishedLogs, error) {
	out := publishedLogs{Published: []string{}}
	var draft stack.CTLogDraft
	if err := c.Post(ctx, stack.AdminCTLogDraft, nil, &draft); err != nil || len(draft.Added) == 0 {
		return out, err
	}
	signed, err := signer.sign(ctx, c, targetsDraft{
		What: "publish CT log " + strings.Join(draft.Added, ", "), Targets: draft.Targets,
		Approve: func(change tufroot.Change) error {
			_, err := stack.ApproveCTLogs(change, a.now())
			return err
		},
	})
	if err != nil {
		return out, err
	}
	a.notef("signed TUF targets that add the CT logs and change nothing else\n")
	var list stack.CTLogList
	if err := c.Post(ctx, stack.AdminCTLogPublish, signer.publication(signed), &list); err != nil {
		return out, err
	}
	out.Published = draft.Added
	for _, l := range list.Logs {
		if l.Distributed.After(out.Distributed) {
			out.Distributed = l.Distributed
		}
	}
	return out, nil
}
