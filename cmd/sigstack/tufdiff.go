package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sigstack/internal/durable"
	"sigstack/internal/stack"
	"sigstack/internal/trust"
)

func (a *app) tufDiffCommand() *cobra.Command {
	var f shardFlags
	var live bool
	var out string
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Say what publishing would change for clients",
		Long: `Say in plain words what a publication of trust material would change now, against
what is published: keys, chains, windows, services, and every file with its digest.
What waits to be published, a shard, a chain or a CT log that was prepared, is counted
in. "nothing" if clients would see no difference. Signers of a ceremony are shown the
same words.

The files are checked as they are before every publication; with --live the services
are asked, too, as a publication does. Nothing is published, and nothing entered in
the log. Exit code 1 if a publication would be refused.

With --out the files that clients would get are written to a directory, a client kit
like that in DIR/client and the targets below it, so that every client you have can
be tried with them before anybody else gets them.`,
		Example: `  sigstack tuf diff --dir /var/lib/sigstack
  sigstack tuf diff --dir /var/lib/sigstack --out draft-kit
  sigstack tuf diff --dir /var/lib/sigstack --live --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.tufDiff(cmd.Context(), f, live, out) },
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&live, "live", false, "ask the services too, whether they are what the files say")
	cmd.Flags().StringVar(&out, "out", "", "`directory`, new or empty, for the files that clients would get")
	return cmd
}

func (a *app) tufDiff(ctx context.Context, f shardFlags, live bool, out string) error {
	query := url.Values{}
	if live {
		query.Set("check", "live")
	}
	if out != "" {
		home, err := emptyDirectory(out)
		if err != nil {
			return err
		}
		query.Set("kit", home)
	}
	var d stack.TUFDiff
	err := a.withActs(ctx, f, true, func(ctx context.Context, c shardChannel) error {
		return c.Get(ctx, stack.AdminTUFDiff+"?"+query.Encode(), &d)
	})
	if err != nil {
		return err
	}
	if out != "" {
		if err := writeDraftKit(out, d); err != nil {
			return err
		}
		d.Kit, d.Targets = nil, nil
	}
	a.result(d, func() {
		for _, change := range d.Changes {
			a.printf("%s\n", change)
		}
		if len(d.Changes) == 0 {
			a.printf("nothing\n")
		}
		if out != "" {
			a.printf("what clients would get is in %s: try your clients with it, as with a client kit\n", out)
		}
	})
	if refusal := trust.Refusal(d.Failed); refusal != nil {
		return errors.Join(errors.New("a publication would be refused"), refusal)
	}
	return nil
}

// emptyDirectory refuses one that holds something, and returns its absolute path.
func emptyDirectory(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("--out: %w", err)
	}
	if len(entries) > 0 {
		return "", usagef("--out: %s is not empty: name a new directory, so that nothing in it is mistaken for a draft", dir)
	}
	return filepath.Abs(dir)
}

// writeDraftKit writes the files of a publication.
func writeDraftKit(dir string, d stack.TUFDiff) error {
	if len(d.Kit) == 0 {
		return errors.New("write draft: the process that serves the directory is of an earlier version, and tells no files: restart it first")
	}
	targets := filepath.Join(dir, "targets")
	if err := os.MkdirAll(targets, 0o755); err != nil { //nolint:gosec // all of it is for the public
		return fmt.Errorf("write draft: %w", err)
	}
	for _, f := range d.Kit {
		if err := durable.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o644); err != nil {
			return fmt.Errorf("write draft: %w", err)
		}
	}
	for _, t := range d.Targets {
		if err := durable.WriteFile(filepath.Join(targets, t.Name), t.Data, 0o644); err != nil {
			return fmt.Errorf("write draft: %w", err)
		}
	}
	return nil
}
