package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sigstack/internal/admin"
	"sigstack/internal/stack"
)

func (a *app) logShardCommand() *cobra.Command {
	cmd := group("shard", "Work with the shards of the log",
		a.shardListCommand(), a.shardStatusCommand(), a.shardPrepareCommand(), a.shardActivateCommand())
	cmd.Long = `Work with the shards of the log: its trees, one of which takes entries, and the
keys that sign for them. The next shard is prepared first, which publishes its key,
and activated when every client knows that. All of it while the stack is served,
or when nothing serves it, with the passphrase of its keys.`
	return cmd
}

// shardFlags are those of every command about shards.
type shardFlags struct {
	dir        string
	passphrase passphraseFlags
	plugins    pluginFlags
	log        logFlags
}

func (s *shardFlags) add(f *pflag.FlagSet) {
	f.StringVar(&s.dir, "dir", defaultDir, "data `directory` of the stack, served or not")
	s.passphrase.add(f)
	s.plugins.add(f)
	s.log.add(f, "warn")
}

// shardChannel asks the process that serves a directory or, if none does, this one.
type shardChannel struct {
	dir    string
	client *admin.Client
}

// Get asks as admin.Client does; that nobody answers is said in the command's words.
// What fails in the command itself is no matter of the channel.
func (c shardChannel) Get(ctx context.Context, path string, into any) error {
	return fromAdmin(c.dir, c.client.Get(ctx, path, into))
}

// Post does an act, as Get asks.
func (c shardChannel) Post(ctx context.Context, path string, in, into any) error {
	return fromAdmin(c.dir, c.client.Post(ctx, path, in, into))
}

// withShards calls do with a channel to dir. Where nothing serves the directory it
// is opened for as long as do takes: that answers for the same acts, and records
// them in the same way.
func (a *app) withShards(ctx context.Context, f shardFlags, do func(context.Context, shardChannel) error) error {
	return a.withActs(ctx, f, false, do)
}

// withActs is withShards. A directory that nothing serves may be unpublished, as
// stack.Options has it.
func (a *app) withActs(ctx context.Context, f shardFlags, unpublished bool, do func(context.Context, shardChannel) error) error {
	l := stack.Layout{Dir: f.dir}
	conf, err := loadConfig(l)
	if err != nil {
		return err
	}
	client := admin.Dial(f.dir)
	err = client.Get(ctx, stack.AdminShards, nil)
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
		Version: version, Dir: f.dir, Profile: conf.Profile, Listener: nowhere, BehindProxy: true,
		Passphrase: passphrase, KMSPlugins: f.plugins.dir, Now: a.now, Log: log, Unpublished: unpublished,
	}, func(ctx context.Context) error { return do(ctx, shardChannel{f.dir, client}) })
	return explainPassphrase(err)
}

func (c shardChannel) list(ctx context.Context) (list stack.ShardList, err error) {
	return list, c.Get(ctx, stack.AdminShards, &list)
}

func (a *app) shardListCommand() *cobra.Command {
	var f shardFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the shards of the log",
		Long: `List the shards of the log, the oldest first: state, tree, the index of its first
entry, how many it has, its key and log ID. Exit code 3 if the stack is split and
its process with the log does not run.`,
		Example: "  sigstack log shard list --dir /var/lib/sigstack\n  sigstack log shard list --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withShards(cmd.Context(), f, func(ctx context.Context, c shardChannel) error {
				list, err := c.list(ctx)
				if err != nil {
					return err
				}
				a.result(list, func() { a.printShards(list) })
				return nil
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (a *app) printShards(list stack.ShardList) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	a.printTo(w, "NAME\tSTATE\tTREE\tFIRST\tENTRIES\tKEY\tLOG ID\n")
	for _, s := range list.Shards {
		a.printTo(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n", s.Name, s.State, s.TreeID, s.First, s.Size, s.Key, s.LogID)
	}
	_ = w.Flush() // as for any output: there is nowhere left to report it
}

func (a *app) shardStatusCommand() *cobra.Command {
	var f shardFlags
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Say which shard takes entries, and what to do about the next one",
		Long:    "Say which shard takes entries, and what to do about the next one. With --output\njson it prints what list does.",
		Example: "  sigstack log shard status --dir /var/lib/sigstack",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withShards(cmd.Context(), f, func(ctx context.Context, c shardChannel) error {
				list, err := c.list(ctx)
				if err != nil {
					return err
				}
				a.result(list, func() { a.printShardStatus(f.dir, list) })
				return nil
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (a *app) printShardStatus(dir string, list stack.ShardList) {
	for _, s := range list.Shards {
		switch s.State {
		case stack.ShardFrozen:
			a.printf("%-8s frozen     entries %s\n", s.Name, span(s))
		case stack.ShardActive:
			a.printf("%-8s active     entries %s so far\n", s.Name, span(s))
		case stack.ShardPreparing:
			a.printf("%-8s preparing  its key is not published\n", s.Name)
		case stack.ShardPrepared:
			a.printf("%-8s prepared   key published %s, with every client from %s on\n", s.Name, stamp(s.Published), stamp(s.Distributed))
		}
	}
	switch last := list.Shards[len(list.Shards)-1]; {
	case last.State == stack.ShardActive:
		a.printf("next     sigstack log shard prepare --dir %s makes the shard after it\n", dir)
	case last.State == stack.ShardPreparing:
		a.printf("next     sigstack log shard prepare --dir %s goes on with it\n", dir)
	case list.Wait > 0:
		a.printf("next     %s can be activated in %v\n", last.Name, time.Duration(list.Wait)*time.Second)
	default:
		a.printf("next     sigstack log shard activate --dir %s\n", dir)
	}
}

// span names the entries of a shard by their indexes in the log.
func span(s stack.ShardStatus) string {
	if s.Size == 0 {
		return "none"
	}
	return fmt.Sprintf("%d to %d", s.First, s.First+s.Size-1)
}
