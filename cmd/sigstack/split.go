package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/stack"
)

func (a *app) splitCommand() *cobra.Command {
	var s splitFlags
	cmd := &cobra.Command{
		Use:   "split",
		Short: "Split a stopped stack into processes that hold only their own keys",
		Long: `Split the directory of a stopped stack into one for each of four processes: the
front, which has the public listener and passes requests on; ca (with the
timestamp authority); logs; and oidc. Each gets only its own keys and databases,
a key of its own that the others know it by, and a config.yaml. They talk over
TLS 1.3 in which both sides prove these keys.

The directory itself stays, with its root keys in offline/, but is marked: it is
never served again, because two logs with one key would grow apart. A split that
is interrupted can be repeated.`,
		Example: `  sigstack split --dir /var/lib/sigstack --into /var/lib/sigstack-split \
      --passphrase-file /run/secrets/passphrase
  sigstack split --dir /data --into /split --address ca=ca.internal:8443 \
      --address logs=logs.internal:8443 --address oidc=oidc.internal:8443`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.split(cmd.Context(), s) },
	}
	f := cmd.Flags()
	f.StringVar(&s.dir, "dir", defaultDir, "data `directory` of the stopped stack")
	f.StringVar(&s.into, "into", "", "`directory` in which each process gets its own")
	f.StringArrayVar(&s.addresses, "address", nil, "`NAME=HOST:PORT` where the process ca, logs or oidc listens for the others (default 127.0.0.1:8101, 8102, 8103); may be repeated")
	s.passphrase.add(f)
	s.log.add(f, "warn")
	return cmd
}

type splitFlags struct {
	dir, into  string
	addresses  []string
	passphrase passphraseFlags
	log        logFlags
}

func (a *app) split(ctx context.Context, f splitFlags) error {
	cfg := stack.SplitConfig{Dir: f.dir, Into: f.into, Addresses: map[string]string{}, Now: a.now}
	if f.into == "" {
		return usagef("--into says where the processes' directories are made")
	}
	if err := wantStack(stack.Layout{Dir: f.dir}); err != nil {
		return err
	}
	for _, v := range f.addresses {
		name, address, ok := strings.Cut(v, "=")
		if !ok {
			return usagef("--address %s: want NAME=HOST:PORT", v)
		}
		if _, twice := cfg.Addresses[name]; twice {
			return usagef("--address %s is given twice", name)
		}
		cfg.Addresses[name] = address
	}
	var err error
	if cfg.Log, err = f.log.logger(a.err); err != nil {
		return err
	}
	if cfg.Passphrase, err = f.passphrase.read(ctx); err != nil {
		return err
	}
	privateFiles()
	cfg.Progress = a.splitProgress()
	processes, err := stack.Split(ctx, cfg)
	var address *stack.AddressError
	if errors.As(err, &address) {
		return usagef("--address: %w", err)
	}
	if err != nil {
		return explainPassphrase(err)
	}
	a.wasSplit(f, processes)
	return nil
}

// splitProgress tells of each step, and of long copies now and then how far they
// are.
func (a *app) splitProgress() func(step string, copied int64) {
	var last string
	var told time.Time
	return func(step string, copied int64) {
		now := a.now()
		switch {
		case step != last:
			a.notef("%s\n", step)
		case now.Sub(told) >= lineEvery:
			a.notef("%s: %s\n", step, size(copied))
		default:
			return
		}
		last, told = step, now
	}
}

// wasSplit says what to start, and what to move.
func (a *app) wasSplit(f splitFlags, processes []stack.Process) {
	command := "serve"
	if conf, err := loadConfig(stack.Layout{Dir: f.dir}); err == nil && conf.Profile == "up" {
		command = "up"
	}
	a.result(map[string]any{"dir": f.dir, "processes": processes}, func() {
		a.printf("split %s, which is never served again\n\nStart, in any order:\n", f.dir)
		for _, p := range processes {
			line := "  sigstack " + command + " --dir " + p.Dir
			if command == "serve" && f.passphrase.file != "" {
				line += " --passphrase-file " + f.passphrase.file
			}
			a.printf("%s\n", line)
		}
		a.printf("\nGive each directory to a user, or move it to a host, of its own:\n")
		for _, p := range processes {
			a.printf("  %-6s %-14s listens on %s\n", p.Name, strings.Join(p.Services, ", "), p.Listen)
		}
		a.printf("Other addresses: peers.listen of the process, peers.processes of those that\ncall it. %s still holds every key: move it to media that stay offline.\n", f.dir)
	})
}
