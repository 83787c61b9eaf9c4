package main

import (
	"context"
	"errors"
	"net"

	"github.com/spf13/cobra"

	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/stack"
)

func (a *app) initCommand() *cobra.Command {
	var i initFlags
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make an operator's stack in an empty directory",
		Long: `Make a stack: keys, CA chains, empty logs, TUF trust root and client kit. The
URL becomes part of the issuer, the logs' origins and the kit: it never changes.

Service keys are encrypted with the passphrase of --passphrase-file,
--passphrase-fd, systemd's credential sigstack-passphrase or SIGSTACK_PASSPHRASE:
of one of them. Root keys (of the CA, the timestamp authority and TUF) go to
DIR/offline, under a passphrase of their own: serve never needs them, so move
that directory to media that stay offline.

With an https URL the listeners speak TLS by certificates of an authority that is
made here, for this host only; the client kit has it. --tls-cert names a certificate
of your own instead, read again whenever it changes, and --behind-proxy leaves TLS to
a proxy.

With --database-url-file the logs are in a PostgreSQL database, whose URL is in that
file, for its owner alone (mode 0600): docs/database.md. The file stays where it is.

With --ceremony there are no keys of TUF's root and targets here: signers bring them,
in sigstack tuf ceremony, before the directory can be served.`,
		Example: `  sigstack init --dir /var/lib/sigstack --url https://sigstack.corp.example \
      --listen :443 --passphrase-file /run/secrets/passphrase
  sigstack init --dir /data --url https://sigstack.corp.example --listen :443 \
      --tls-cert /etc/tls/tls.crt --tls-key /etc/tls/tls.key --passphrase-file FILE
  sigstack init --dir /data --url https://sigstack.corp.example --listen 127.0.0.1:8080 \
      --behind-proxy --passphrase-file FILE
  sigstack init --dir /data --url https://sigstack.corp.example --listen :443 \
      --passphrase-file FILE --key ca=hashivault://ca --create-keys
  sigstack init --dir /data --url https://sigstack.corp.example --listen :443 \
      --passphrase-file FILE --database-url-file /etc/sigstack/database-url`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.init(cmd.Context(), i) },
	}
	f := cmd.Flags()
	f.StringVar(&i.dir, "dir", defaultDir, "data `directory`: empty, or made")
	f.StringVar(&i.url, "url", "", "`URL` for clients, for ever (default http://localhost:PORT)")
	f.StringVar(&i.listen, "listen", "", "`host:port` that serve will listen on (default "+defaultListen+", or where a URL of this machine leads)")
	f.StringArrayVar(&i.issuers, "trust-issuer", nil, issuerUsage)
	f.StringVar(&i.offlineFile, "offline-passphrase-file", "", "`file` with the passphrase of the root keys (default: a random one, written to DIR/offline/passphrase)")
	f.BoolVar(&i.ceremony, "ceremony", false, "leave the trust root to signers, whose keys are elsewhere: `sigstack tuf ceremony` makes it, and serve waits for it")
	f.StringVar(&i.tufProfile, "tuf-profile", "", tufProfileUsage)
	i.database.add(f)
	i.tls.add(f)
	i.keys.add(f)
	i.passphrase.add(f)
	i.log.add(f, "warn")
	return cmd
}

type initFlags struct {
	dir, url, listen string
	issuers          []string
	offlineFile      string
	tufProfile       string
	ceremony         bool
	database         databaseFlags
	tls              tlsFlags
	keys             placeFlags
	passphrase       passphraseFlags
	log              logFlags
}

func (a *app) init(ctx context.Context, f initFlags) error {
	cfg, err := f.config(ctx, a)
	if err != nil {
		return err
	}
	privateFiles()
	if err := stack.Init(ctx, cfg); err != nil {
		return err
	}
	l := stack.Layout{Dir: f.dir}
	return errors.Join(a.initialized(cfg, l), a.noteWarnings(l))
}

func (f initFlags) config(ctx context.Context, a *app) (cfg stack.InitConfig, err error) {
	f.listen = listenFor(f.listen, f.url)
	cfg = stack.InitConfig{Dir: f.dir, Profile: config.ProfileServe, URL: f.url, Listen: f.listen, Ceremony: f.ceremony, Now: a.now}
	if cfg.Log, err = f.log.logger(a.err); err != nil {
		return cfg, err
	}
	if cfg.URL, err = chooseURL(f.url, f.listen); err != nil {
		return cfg, err
	}
	if cfg.TLS, err = f.tls.init(cfg.URL); err != nil {
		return cfg, err
	}
	if cfg.Issuers, err = parseIssuers(f.issuers); err != nil {
		return cfg, err
	}
	if cfg.TUFProfile, err = tufProfile(f.tufProfile); err != nil {
		return cfg, err
	}
	if cfg.Database, err = f.database.init(); err != nil {
		return cfg, err
	}
	if cfg.Keys, err = f.keys.keys(); err != nil {
		return cfg, err
	}
	cfg.Keys.Devices = keys.Devices{PluginDir: f.keys.plugins.dir, Log: cfg.Log}
	if cfg.Passphrase, err = f.passphrase.read(ctx); err != nil {
		return cfg, err
	}
	if len(cfg.Passphrase) == 0 {
		return cfg, usagef("keys need a passphrase: %s", passphraseHelp)
	}
	if err := checkNew("the service keys", cfg.Passphrase); err != nil {
		return cfg, err
	}
	if f.offlineFile == "" {
		return cfg, nil
	}
	if cfg.OfflinePassphrase, err = readSecret(ctx, passphraseWord, f.offlineFile); err != nil {
		return cfg, err
	}
	return cfg, checkNew("the root keys", cfg.OfflinePassphrase)
}

const tufProfileUsage = "how long TUF metadata lives: `profile` connected (clients reach the stack), airgap (a courier carries it) or test (seconds) (default connected)"

// tufProfile checks the value of --tuf-profile.
func tufProfile(name string) (string, error) {
	if err := config.CheckTUFProfile(name); err != nil {
		return "", usagef("--tuf-profile %w", err)
	}
	return name, nil
}

// chooseURL returns url, or localhost with the port of address if there is none.
func chooseURL(url, address string) (string, error) {
	if err := config.CheckAddress(address); err != nil {
		return "", usagef("--listen: %w", err)
	}
	if url == "" {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return "", usagef("--listen: %w", err)
		}
		if port == "0" {
			return "", usagef("--listen %s: its port is not known yet, so say --url", address)
		}
		return "http://localhost:" + port, nil
	}
	if err := config.CheckURL(url); err != nil {
		return "", usagef("--url: %w", err)
	}
	return url, nil
}

func (a *app) initialized(cfg stack.InitConfig, l stack.Layout) error {
	if cfg.Ceremony {
		a.initializedFor(cfg, l)
		return nil
	}
	sum, err := l.RootSHA256()
	if err != nil {
		return err
	}
	a.result(map[string]string{"dir": l.Dir, "url": cfg.URL, "root_sha256": sum}, func() {
		a.printf("initialized %s for %s\n", l.Dir, cfg.URL)
		a.printf("trust root %s/root.json\n    sha256:%s\n", l.Client(), sum)
		a.printf("\nNow:\n  1. Move %s to media that stay offline: serve does not need it.\n", l.Offline())
		if len(cfg.OfflinePassphrase) == 0 {
			a.printf("     Its file `passphrase` opens those keys: keep it apart from them.\n")
		}
		a.printf("  2. Add users or connectors to %s; see docs/operating.md.\n", l.Config())
		a.printf("  3. sigstack serve --dir %s --passphrase-file FILE\n", l.Dir)
		a.printf("\n%s\n", reached(cfg, l))
	})
	return nil
}

// initializedFor tells of a directory whose trust root comes out of a ceremony.
func (a *app) initializedFor(cfg stack.InitConfig, l stack.Layout) {
	a.result(map[string]string{"dir": l.Dir, "url": cfg.URL, "awaits": "root"}, func() {
		a.printf("initialized %s for %s\n", l.Dir, cfg.URL)
		a.printf("no trust root yet: signers make it, whose keys are elsewhere\n")
		a.printf("\nNow:\n  1. Each signer, on a machine of their own: sigstack keys create NAME --signer --dir DIR\n")
		a.printf("     and hands out what `sigstack keys show NAME --signer --dir DIR` prints.\n")
		a.printf("  2. sigstack tuf ceremony start --dir %s --folder FOLDER --root-key FILE … --root-threshold N\n", l.Dir)
		a.printf("  3. Move %s to media that stay offline: serve does not need it.\n", l.Offline())
	})
}
