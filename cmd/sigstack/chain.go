package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/keys"
	"sigstack/internal/stack"
)

// chainCommands are those on the chains of one authority.
type chainCommands struct {
	*app
	of stack.Authority
	chainTexts

	// issue certifies the key of the next chain with the root keys.
	issue func(next stack.ChainKey, offline string, passphrase []byte, devices keys.Devices, now time.Time) ([]*x509.Certificate, error)
}

// chainTexts are where the authorities differ in words.
type chainTexts struct {
	short, long, listLong       string
	prepareLong, prepareExample string
}

func (c chainCommands) command() *cobra.Command {
	cmd := group("chain", c.short, c.listCommand(), c.statusCommand(), c.prepareCommand(), c.closeCommand())
	cmd.Long = c.long
	return cmd
}

// sigstack is the command line of one of the commands.
func (c chainCommands) sigstack(command string) string {
	return fmt.Sprintf("sigstack %s chain %s", c.of, command)
}

func (c chainCommands) listCommand() *cobra.Command {
	var f shardFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the chains that clients trust",
		Long:    c.listLong,
		Example: "  " + c.sigstack("list --dir /var/lib/sigstack") + "\n  " + c.sigstack("list --output json"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), f, func(list stack.ChainList) {
				w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
				c.printTo(w, "STATE\tKEY\tSUBJECT\tNOT AFTER\tSHA-256\n")
				for _, x := range list.Chains {
					c.printTo(w, "%s\t%s\t%s\t%s\t%s\n", x.State, x.Key, x.Subject, stamp(x.NotAfter), x.SHA256)
				}
				_ = w.Flush() // as for any output: there is nowhere left to report it
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (c chainCommands) statusCommand() *cobra.Command {
	var f shardFlags
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Say which chain issues, and what to do about the others",
		Long:    "Say which chain issues, since when, and what to do about the others. With --output\njson it prints what list does.",
		Example: "  " + c.sigstack("status --dir /var/lib/sigstack"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), f, func(list stack.ChainList) { c.printStatus(f.dir, list) })
		},
	}
	f.add(cmd.Flags())
	return cmd
}

// with shows the chains of a stack that is served or not.
func (c chainCommands) with(ctx context.Context, f shardFlags, show func(stack.ChainList)) error {
	return c.withShards(ctx, f, func(ctx context.Context, channel shardChannel) error {
		var list stack.ChainList
		if err := channel.Get(ctx, c.of.Paths().List, &list); err != nil {
			return err
		}
		c.result(list, func() { show(list) })
		return nil
	})
}

func (c chainCommands) printStatus(dir string, list stack.ChainList) {
	for _, x := range list.Chains {
		c.printf("%-9s  %s\n", x.State, x.Subject)
		switch x.State {
		case stack.ChainActive:
			c.printf("           issues since %s, with key %s, until %s at most\n", stamp(x.Since), x.Key, stamp(x.NotAfter))
		case stack.ChainRetired:
			c.printf("           issued until %s\n", stamp(x.Retired))
			if !x.End.IsZero() {
				c.printf("           clients accept nothing of it that is newer than %s\n", stamp(x.End))
			}
		case stack.ChainDropped:
			c.printf("           never issued; closed at %s\n", stamp(x.End))
		case stack.ChainPrepared:
			c.printf("           published %s, with every client from %s on; key %s, chain %s\n", stamp(x.Published), stamp(x.Distributed), x.Key, x.Path)
			c.printf("           if it shall never issue: %s\n", c.sigstack("close --unused --dir "+dir))
		case stack.ChainPreparing:
			c.printf("           not published yet, with key %s: its prepare was interrupted\n", x.Key)
		}
	}
	c.printf("next       %s\n", c.nextStep(dir, list))
	if from, open := closable(list); open && from.After(c.now()) {
		c.printf("           not before %s, and when you will not go back: %s\n", stamp(from), c.sigstack("close --dir "+dir))
	} else if open {
		c.printf("           when you will not go back: %s ends for ever what clients accept of retired ones\n", c.sigstack("close --dir "+dir))
	}
}

// nextStep says what to do about the newest chain that has not issued yet.
func (c chainCommands) nextStep(dir string, list stack.ChainList) string {
	next := c.sigstack("prepare --dir "+dir) + " publishes the chain after it"
	for _, x := range list.Chains {
		switch x.State {
		case stack.ChainPrepared:
			when := "now"
			if x.Distributed.After(c.now()) {
				when = "from " + stamp(x.Distributed) + " on"
			}
			next = fmt.Sprintf("%s let config.yaml say, in section %s, key: %s and chain: %s", when, c.of, x.Key, x.Path)
		case stack.ChainPreparing:
			next = fmt.Sprintf("%s, with the options of the one that was interrupted, goes on with key %s", c.sigstack("prepare --dir "+dir), x.Key)
		}
	}
	return next
}

// closable reports whether a chain can be closed, and when the last of those that can
// will have had its time.
func closable(list stack.ChainList) (from time.Time, open bool) {
	for _, c := range list.Chains {
		if c.State != stack.ChainRetired || !c.End.IsZero() {
			continue
		}
		if open = true; c.Retired.Add(stack.CloseAfter).After(from) {
			from = c.Retired.Add(stack.CloseAfter)
		}
	}
	return from, open
}
