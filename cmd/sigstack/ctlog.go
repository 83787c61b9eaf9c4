package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

func (a *app) ctlogCommand() *cobra.Command {
	cmd := group("ctlog", "Work with the certificate transparency logs", a.ctPrepareCommand(), a.ctPublishCommand())
	cmd.Long = `Work with the certificate transparency logs. A further one is added while nothing
serves the directory: prepare makes its key and tree and prints what belongs into
config.yaml, publish puts it into the trust material.`
	return cmd
}

// preparedLog is a CT log as config.yaml wants it, and as JSON for programs.
type preparedLog struct {
	Key           string `json:"key"`
	TreeID        int64  `json:"tree_id,string"`
	Prefix        string `json:"prefix"`
	NotAfterStart string `json:"not_after_start"`
	NotAfterLimit string `json:"not_after_limit,omitempty"`
}

func (a *app) ctPrepareCommand() *cobra.Command {
	var f shardFlags
	var shard config.CTShard
	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Make the key and the tree of a further CT log",
		Long: `Make the key and the tree of a further CT log, for certificates that end at
--not-after-start or later, and print what belongs into ctlog.shards of
config.yaml. Nothing knows of the log before sigstack ctlog publish. A prepare that
was interrupted, or is repeated, finds what is there.

By --not-after-start every client must know the log: it is refused if it lies before
the longest life of a TUF timestamp, a day unless said otherwise, has passed.`,
		Example: "  sigstack ctlog prepare --dir /var/lib/sigstack --prefix ct2028 \\\n      --not-after-start 2028-01-01T00:00:00Z --not-after-limit 2029-01-01T00:00:00Z",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.ctPrepare(cmd.Context(), f, shard) },
	}
	f.add(cmd.Flags())
	fl := cmd.Flags()
	fl.StringVar(&shard.Prefix, "prefix", "", "the log's first path `element`")
	fl.StringVar(&shard.NotAfterStart, "not-after-start", "", "`time` (RFC 3339) from which on certificates end that it takes")
	fl.StringVar(&shard.NotAfterLimit, "not-after-limit", "", "`time` before which they end (default: no bound)")
	return cmd
}

var ctPrefix = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,50}$`)

func (a *app) ctPrepare(ctx context.Context, f shardFlags, shard config.CTShard) error {
	if !ctPrefix.MatchString(shard.Prefix) {
		return usagef("--prefix %q: want one path element of a-z, 0-9 and -", shard.Prefix)
	}
	if _, err := time.Parse(time.RFC3339, shard.NotAfterStart); err != nil {
		return usagef("--not-after-start %q: want a time such as 2028-01-01T00:00:00Z", shard.NotAfterStart)
	}
	if _, err := time.Parse(time.RFC3339, shard.NotAfterLimit); err != nil && shard.NotAfterLimit != "" {
		return usagef("--not-after-limit %q: want a time such as 2029-01-01T00:00:00Z", shard.NotAfterLimit)
	}
	opts, err := a.stopped(ctx, f)
	if err != nil {
		return err
	}
	s, err := stack.Open(ctx, opts)
	if err != nil {
		return explainPassphrase(err)
	}
	shard, err = s.PrepareCTLog(ctx, shard)
	if closing := s.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	text, err := yaml.Marshal([]config.CTShard{shard})
	if err != nil {
		return fmt.Errorf("print the log: %w", err)
	}
	out := preparedLog{shard.Key, shard.TreeID, shard.Prefix, shard.NotAfterStart, shard.NotAfterLimit}
	a.result(out, func() {
		a.printf("made key %s and tree %d\n\nNow put this into config.yaml:\n\nctlog:\n  shards:\n", shard.Key, shard.TreeID)
		for line := range strings.Lines(string(text)) {
			a.printf("    %s", line)
		}
		a.printf("\nand then: sigstack ctlog publish --dir %s\n", f.dir)
	})
	return nil
}

func (a *app) ctPublishCommand() *cobra.Command {
	var f shardFlags
	var p prepareFlags
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Put the CT logs of config.yaml into the trust material",
		Long: `Put the CT logs of config.yaml, those of ca.ct_logs among them, into the trust
material: trusted_root.json, the TUF targets and the client kit. The key that signs
TUF's targets is needed for that, from DIR/offline or where that was moved. Refused
if anything else would change, or a published log would change or go.

Nothing may serve the directory meanwhile. Hand the new kit to clients that have it
as files; others ask by themselves.`,
		Example: `  sigstack ctlog publish --dir /var/lib/sigstack \
      --offline /media/offline --offline-passphrase-file /media/passphrase`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.ctPublish(cmd.Context(), f, p) },
	}
	f.add(cmd.Flags())
	p.add(cmd)
	return cmd
}

func (a *app) ctPublish(ctx context.Context, f shardFlags, p prepareFlags) error {
	o, err := a.offlineKeys(ctx, f, p.targetsFlags)
	if err != nil {
		return err
	}
	targets, err := o.targets()
	if err != nil {
		return err
	}
	opts, err := a.stopped(ctx, f)
	if err != nil {
		return err
	}
	added, err := stack.PublishCTLogs(ctx, opts, targets)
	if err != nil {
		return explainPassphrase(err)
	}
	a.result(map[string][]string{"published": added}, func() {
		for _, id := range added {
			a.printf("published CT log %s\n", id)
		}
	})
	return nil
}

// stopped is how a directory is opened that nothing serves.
func (a *app) stopped(ctx context.Context, f shardFlags) (stack.Options, error) {
	conf, err := loadConfig(stack.Layout{Dir: f.dir})
	if err != nil {
		return stack.Options{}, err
	}
	log, err := f.log.logger(a.err)
	if err != nil {
		return stack.Options{}, err
	}
	passphrase, err := f.passphrase.read(ctx)
	if err != nil {
		return stack.Options{}, err
	}
	nowhere, err := newListener(ctx)
	if err != nil {
		return stack.Options{}, err
	}
	privateFiles()
	return stack.Options{
		Version: version, Dir: f.dir, Profile: conf.Profile, Listener: nowhere, BehindProxy: true,
		Passphrase: passphrase, KMSPlugins: f.plugins.dir, Now: a.now, Log: log,
	}, nil
}
