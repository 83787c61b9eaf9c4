package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"sigstack/internal/signing"
)

func (a *app) logProveCommand() *cobra.Command {
	var l logSourceFlags
	var size uint64
	var consistency bool
	var tree string
	cmd := &cobra.Command{
		Use:   "prove INDEX|UUID | --consistency FIRST [SECOND]",
		Short: "Prove that an entry is in the log, or that the log has only grown",
		Long: `Prove that an entry is in the tree of its shard, or, with --consistency, that the
tree of SECOND entries, or the newest, extends that of FIRST, and print the proof,
which was verified (RFC 6962): against a checkpoint that is signed by the shard's key
in the trust root or, with --dir, against the tree of a directory that nothing serves.
Exit code 1 if it does not verify.

The roots of both sizes of a consistency proof follow from the signed checkpoint, so
that they can be compared with what a monitor or a bundle has kept.`,
		Example: `  sigstack log prove 17 --client kit
  sigstack log prove 17 --size 20 --dir /backup/sigstack
  sigstack log prove --consistency 100 250 --client kit --output json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case consistency && cmd.Flags().Changed("size"):
				return usagef("--size is for the proof of an entry; the sizes of --consistency are arguments")
			case consistency:
				return a.logConsistency(cmd.Context(), &l, tree, args)
			case len(args) != 1:
				return usagef("prove wants one entry, or --consistency and two sizes; see %s --help", cmd.CommandPath())
			case tree != "":
				return usagef("--tree goes with --consistency: an entry is proven in its own tree")
			case cmd.Flags().Changed("size") && size == 0:
				return usagef("--size 0: a tree without entries proves none")
			}
			return a.withEntry(cmd.Context(), &l, args[0], size, func(e signing.LogEntry, vouched string) { a.printInclusion(e, vouched) })
		},
	}
	l.add(cmd.Flags())
	f := cmd.Flags()
	f.Uint64Var(&size, "size", 0, "prove in the tree of this many entries (default: the newest; another one needs --dir)")
	f.BoolVar(&consistency, "consistency", false, "prove that the log has only grown between two sizes")
	f.StringVar(&tree, "tree", "", "decimal `ID` of the shard's tree, with --consistency (default: the newest)")
	return cmd
}

func (a *app) printInclusion(e signing.LogEntry, vouched string) {
	a.printf("entry       %s\n", e.EntryID)
	a.printf("proof       entry %d is in tree %s of %d\n", e.Index, e.TreeID, e.TreeSize)
	a.printf("root        %s\n", e.RootHash)
	a.printHashes(e.Hashes)
	a.printf("verified    %s\n", vouched)
}

func (a *app) printHashes(hashes []string) {
	for _, h := range hashes {
		a.printf("hash        %s\n", h)
	}
}

func (a *app) logConsistency(ctx context.Context, l *logSourceFlags, tree string, args []string) (err error) {
	var sizes [2]uint64
	for i, arg := range args {
		if sizes[i], err = strconv.ParseUint(arg, 10, 63); err != nil || sizes[i] == 0 {
			return usagef("%q is no size of a tree: want a number of entries, at least 1", shown(arg))
		}
	}
	if len(args) == 2 && sizes[0] > sizes[1] {
		return usagef("the first size, %d, is more than the second, %d", sizes[0], sizes[1])
	}
	if _, err := strconv.ParseUint("0"+tree, 10, 63); err != nil {
		return usagef("--tree %q: want the decimal ID of a tree", shown(tree))
	}
	log, err := l.open(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.close()) }()
	c, err := log.consistency(ctx, tree, sizes[0], sizes[1])
	if err != nil {
		return err
	}
	a.result(c, func() {
		a.printf("proof       tree %s of %d entries extends that of %d\n", c.TreeID, c.Second, c.First)
		a.printf("root        %s of %d\n", c.FirstRoot, c.First)
		a.printf("root        %s of %d\n", c.SecondRoot, c.Second)
		a.printHashes(c.Hashes)
		a.printf("verified    %s\n", log.vouched())
	})
	return nil
}
