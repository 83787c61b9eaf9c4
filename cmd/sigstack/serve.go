package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

func (a *app) serveCommand() *cobra.Command {
	var s serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the stack that init made",
		Long: `Serve the stack in a directory that init made. The passphrase of its keys comes
from one of --passphrase-file, --passphrase-fd, systemd's credential
sigstack-passphrase and the variable SIGSTACK_PASSPHRASE.

The first line on stdout is "ready URL", printed when keys, chains and the newest
entry have been checked. A plaintext listener outside loopback is refused unless
--behind-proxy says that a proxy terminates TLS. A hangup signal does what
sigstack reload does. A termination signal ends the process when requests under way
are answered; with --drain it serves on that long first, with /readyz at 503, so
that balancers go elsewhere and no request is refused.`,
		Example: `  sigstack serve --dir /var/lib/sigstack --passphrase-file /run/secrets/passphrase
  sigstack serve --dir /data --listen 0.0.0.0:8080 --behind-proxy`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), s) },
	}
	f := cmd.Flags()
	f.StringVar(&s.dir, "dir", defaultDir, "data `directory` that init made")
	f.StringVar(&s.url, "url", "", "refuse to start unless this is the `URL` fixed at init")
	f.StringVar(&s.listen, "listen", "", "`host:port` to listen on (default: the stored one)")
	f.BoolVar(&s.behindProxy, "behind-proxy", false, "a proxy terminates TLS: allow a plaintext listener outside loopback")
	f.DurationVar(&s.drain, "drain", 0, "how `long` to serve on after a termination signal, with /readyz at 503")
	s.passphrase.add(f)
	s.plugins.add(f)
	s.log.add(f, "info")
	return cmd
}

type serveFlags struct {
	dir, url, listen string
	behindProxy      bool
	drain            time.Duration
	passphrase       passphraseFlags
	plugins          pluginFlags
	log              logFlags
}

func (a *app) serve(ctx context.Context, f serveFlags) error {
	log, err := f.log.logger(a.err)
	if err != nil {
		return err
	}
	if f.listen != "" {
		if err := config.CheckAddress(f.listen); err != nil {
			return usagef("--listen: %w", err)
		}
	}
	if f.drain < 0 {
		return usagef("--drain %v: want no less than 0", f.drain)
	}
	passphrase, err := f.passphrase.read(ctx)
	if err != nil {
		return err
	}
	if err := wantStack(stack.Layout{Dir: f.dir}); err != nil {
		return err
	}
	privateFiles()
	received, stop := hangups()
	defer stop()
	opts := stack.Options{
		Version: version, Dir: f.dir, Profile: config.ProfileServe, URL: f.url, Listen: f.listen,
		BehindProxy: f.behindProxy, Drain: f.drain, Passphrase: passphrase, KMSPlugins: f.plugins.dir, Now: a.now, CheckEvery: a.checkEvery, Log: log,
	}
	opened := func(s *stack.Stack) func() { return reloadOn(ctx, received, s) }
	return explainPassphrase(stack.Serve(ctx, opts, opened, func(s *stack.Stack) {
		if s.Process() != "" {
			a.announceProcess(s)
			return
		}
		a.result(map[string]string{"ready": s.URL(), "listen": s.Address(), "root_sha256": s.RootSHA256()}, func() {
			// One write, for readers of the first line only.
			a.printf("ready %s\nlistening on %s\ntrust root sha256:%s\n", s.URL(), s.Address(), s.RootSHA256())
		})
	}))
}
