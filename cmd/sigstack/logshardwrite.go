package main

import (
	"context"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"sigstack/internal/keys"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

func (a *app) shardPrepareCommand() *cobra.Command {
	var f shardFlags
	var p prepareFlags
	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Make the next shard and publish its key",
		Long: `Make the next shard of the log, a tree and a key (tlog-2, tlog-3, …), and publish
the key in the trust material: trusted_root.json, the TUF targets and the client
kit. Nothing uses it before log shard activate. The key that signs TUF's targets is
needed for that, from DIR/offline or where that was moved; this command uses it
itself, and the process that serves never sees it. Nothing is signed but what adds
the shard's key to what was signed last.

The key is a file unless --key-uri says where it lives; one of that name that is
there already is taken. A prepare that was interrupted is gone on with by the next
one. Exit code 1 if the stack refuses, as it does when a shard is prepared already.`,
		Example: `  sigstack log shard prepare --dir /var/lib/sigstack \
      --offline /media/offline --offline-passphrase-file /media/passphrase
  sigstack log shard prepare --key-uri hashivault://tlog-2 --create-key`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.shardPrepare(cmd.Context(), f, p) },
	}
	f.add(cmd.Flags())
	fl := cmd.Flags()
	fl.StringVar(&p.order.URI, "key-uri", "", "`URI` where the shard's key lives (default: a file in DIR/keys)")
	fl.BoolVar(&p.order.Create, "create-key", false, "make a key at --key-uri if there is none")
	p.add(cmd)
	return cmd
}

// prepareFlags say where keys are.
type prepareFlags struct {
	order stack.ShardOrder
	targetsFlags
}

func (a *app) shardPrepare(ctx context.Context, f shardFlags, p prepareFlags) error {
	if p.order.Create && p.order.URI == "" {
		return usagef("--create-key says what to do about --key-uri, which is not given")
	}
	if p.order.URI != "" {
		if err := keys.CheckURI(p.order.URI); err != nil {
			return usagef("--key-uri: %w", err)
		}
	}
	signer, err := a.targetsSigner(ctx, f, p.targetsFlags) // before anything is made
	if err != nil {
		return err
	}
	return a.withShards(ctx, f, func(ctx context.Context, c shardChannel) error {
		var draft stack.ShardDraft
		if err := c.Post(ctx, stack.AdminShardPrepare, p.order, &draft); err != nil {
			return err
		}
		signed, err := signer.sign(ctx, c, targetsDraft{
			What:    "publish the key of log shard " + draft.Shard.Name + ", log ID " + draft.Shard.LogID,
			Targets: draft.Targets,
			Approve: func(change tufroot.Change) error { return draft.Approve(change, a.now()) },
		})
		if err != nil {
			return err
		}
		a.notef("signed TUF targets that add log ID %s and change nothing else\n", draft.Shard.LogID)
		var st stack.ShardStatus
		if err := c.Post(ctx, stack.AdminShardPublish, signer.publication(signed), &st); err != nil {
			return err
		}
		a.result(st, func() { a.printPrepared(f.dir, st) })
		return nil
	})
}

func (a *app) printPrepared(dir string, st stack.ShardStatus) {
	a.printf("prepared shard %s: tree %s, key %s\n    log ID %s\n", st.Name, st.TreeID, st.Key, st.LogID)
	a.printf("published in trusted_root.json, the TUF targets and the client kit\n")
	a.printf("\nNow:\n  1. Hand the new kit to clients that have it as files; others ask by themselves.\n")
	a.printf("  2. From %s on: sigstack log shard activate --dir %s\n", stamp(st.Distributed), dir)
}

func (a *app) shardActivateCommand() *cobra.Command {
	var f shardFlags
	cmd := &cobra.Command{
		Use:   "activate",
		Short: "Freeze the shard that takes entries, and let the prepared one take them",
		Long: `Freeze the tree that takes entries and let the prepared one take them in its place,
in one atomic step and while entries are written: each request ends in one of the
two. It cannot be taken back.

Refused, with the time that is left, until the key has had time to reach clients:
the longest life of a TUF timestamp since it was published, a day unless said
otherwise; seconds for a test stack.`,
		Example: "  sigstack log shard activate --dir /var/lib/sigstack",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withShards(cmd.Context(), f, func(ctx context.Context, c shardChannel) error {
				var done stack.ActivatedShard
				if err := c.Post(ctx, stack.AdminShardActivate, nil, &done); err != nil {
					return err
				}
				a.result(done, func() {
					a.printf("froze shard %s: entries %s, root %s\n", done.Frozen.Name, span(done.Frozen), done.Frozen.Root)
					a.printf("shard %s takes entries, from index %d on\n", done.Active.Name, done.Active.First)
				})
				return nil
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}

// newListener is one that a stack is opened with which serves nobody.
func newListener(ctx context.Context) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open the directory: %w", err)
	}
	return l, nil
}
