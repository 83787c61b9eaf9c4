package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

func (c chainCommands) closeCommand() *cobra.Command {
	var f shardFlags
	var p prepareFlags
	var yes, unused bool
	cmd := &cobra.Command{
		Use:   "close",
		Short: "End what clients accept of retired chains",
		Long: fmt.Sprintf(`Publish the end of the windows of all chains that issue nothing any more: %v after
each was retired. What they issued before verifies for ever; whoever has one of
their keys can make nothing new of it. It cannot be taken back: a closed chain never
issues again. So without --yes nothing changes, exit code 1, and the message names
the chains and the ends that they would get. The key that signs TUF's targets is
needed, as for prepare.

With --unused it is those that were prepared and have never issued, by mistake for
instance: they end now, instead, and are in nobody's way any more.`, stack.CloseAfter.Truncate(time.Hour)),
		Example: "  " + c.sigstack("close --dir /var/lib/sigstack --offline /media/offline") +
			"\n  " + c.sigstack("close --dir /var/lib/sigstack --offline /media/offline --yes"),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.close(cmd.Context(), f, p, yes, unused) },
	}
	f.add(cmd.Flags())
	p.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do it: it cannot be taken back")
	cmd.Flags().BoolVar(&unused, "unused", false, "close chains that were prepared and have never issued, and no others")
	return cmd
}

func (c chainCommands) close(ctx context.Context, f shardFlags, p prepareFlags, yes, unused bool) error {
	if p.ceremony != "" && !yes {
		return usagef("--ceremony needs --yes: the signers are shown the ends, and nothing changes before they have signed")
	}
	signer, err := c.targetsSigner(ctx, f, p.targetsFlags)
	if err != nil {
		return err
	}
	path, which := c.of.Paths().Close, "retired"
	if unused {
		path, which = c.of.Paths().CloseUnused(), "unused"
	}
	return c.withShards(ctx, f, func(ctx context.Context, channel shardChannel) error {
		var draft stack.ChainDraft
		if !yes {
			err = channel.Get(ctx, path, &draft)
		} else {
			err = channel.Post(ctx, path, nil, &draft)
		}
		if err != nil {
			return err
		}
		signed, err := signer.sign(ctx, channel, targetsDraft{
			What:    "end what clients accept of " + which + " " + strings.ToUpper(c.of.String()) + " chains",
			Targets: draft.Targets,
			Approve: func(change tufroot.Change) error {
				ends, err := c.of.ChainEnds(change, c.now())
				if err != nil {
					return err
				}
				return c.approveEndsOf(which, ends, yes)
			},
		})
		if err != nil {
			return err
		}
		var list stack.ChainList
		if err := channel.Post(ctx, c.of.Paths().Publish, signer.publication(signed), &list); err != nil {
			return err
		}
		c.result(list, func() { c.printStatus(f.dir, list) })
		return nil
	})
}

// approveEnds shows the ends that are about to be signed, which come from the draft
// itself, not from what the process says of it.
func (a *app) approveEnds(ends []stack.ChainEnd, yes bool) error {
	return a.approveEndsOf("retired", ends, yes)
}

func (a *app) approveEndsOf(which string, ends []stack.ChainEnd, yes bool) error {
	var text strings.Builder
	for _, e := range ends {
		fmt.Fprintf(&text, "\n    %s (sha256:%s) at %s", e.Subject, e.SHA256, stamp(e.End))
	}
	if !yes {
		return errors.New("nothing was closed. For ever would end what clients accept of" + text.String() + "\nand none of these could issue again: repeat with --yes if that is meant")
	}
	a.notef("signing TUF targets that end what clients accept of %s chains and change nothing else:%s\n", which, text.String())
	return nil
}
