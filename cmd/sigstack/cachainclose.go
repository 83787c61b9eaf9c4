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

func (a *app) chainCloseCommand() *cobra.Command {
	var f shardFlags
	var p prepareFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "close",
		Short: "End what clients accept of retired chains",
		Long: fmt.Sprintf(`Publish the end of the windows of all chains that issue nothing any more: %v after
each was retired. What they issued before verifies for ever; whoever has one of
their keys can make nothing new of it. It cannot be taken back: a closed chain never
issues again. So without --yes nothing changes, exit code 1, and the message names
the chains and the ends that they would get. The key that signs TUF's targets is
needed, as for prepare.`, stack.CloseAfter.Truncate(time.Hour)),
		Example: `  sigstack ca chain close --dir /var/lib/sigstack --offline /media/offline
  sigstack ca chain close --dir /var/lib/sigstack --offline /media/offline --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.chainClose(cmd.Context(), f, p, yes) },
	}
	f.add(cmd.Flags())
	p.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do it: it cannot be taken back")
	return cmd
}

func (a *app) chainClose(ctx context.Context, f shardFlags, p prepareFlags, yes bool) error {
	if p.ceremony != "" && !yes {
		return usagef("--ceremony needs --yes: the signers are shown the ends, and nothing changes before they have signed")
	}
	signer, err := a.targetsSigner(ctx, f, p.targetsFlags)
	if err != nil {
		return err
	}
	return a.withShards(ctx, f, func(ctx context.Context, c shardChannel) error {
		var draft stack.ChainDraft
		if !yes {
			err = c.Get(ctx, stack.AdminChainClose, &draft)
		} else {
			err = c.Post(ctx, stack.AdminChainClose, nil, &draft)
		}
		if err != nil {
			return err
		}
		signed, err := signer.sign(ctx, c, targetsDraft{
			What:    "end what clients accept of retired CA chains",
			Targets: draft.Targets,
			Approve: func(change tufroot.Change) error {
				ends, err := stack.ChainEnds(change, a.now())
				if err != nil {
					return err
				}
				return a.approveEnds(ends, yes)
			},
		})
		if err != nil {
			return err
		}
		var list stack.ChainList
		if err := c.Post(ctx, stack.AdminChainPublish, stack.SignedTargets{Targets: signed}, &list); err != nil {
			return err
		}
		a.result(list, func() { a.printChainStatus(f.dir, list) })
		return nil
	})
}

// approveEnds shows the ends that are about to be signed, which come from the draft
// itself, not from what the process says of it.
func (a *app) approveEnds(ends []stack.ChainEnd, yes bool) error {
	var text strings.Builder
	for _, e := range ends {
		fmt.Fprintf(&text, "\n    %s (sha256:%s) at %s", e.Subject, e.SHA256, stamp(e.End))
	}
	if !yes {
		return errors.New("nothing was closed. For ever would end what clients accept of" + text.String() + "\nand none of these could issue again: repeat with --yes if that is meant")
	}
	a.notef("signing TUF targets that end what clients accept of retired chains and change nothing else:%s\n", text.String())
	return nil
}
