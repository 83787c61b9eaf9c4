package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// Where a stack is, unless the user says.
const (
	defaultDir    = "sigstack-data"
	defaultListen = "127.0.0.1:8080"
)

func (a *app) upCommand() *cobra.Command {
	var u upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a test stack on this machine: everything, one process, a demo user",
		Long: `Run a whole stack for tests: made on the first start, kept between starts,
loopback only, keys in the clear, a demo user with a random password.

The first line on stdout is "ready URL", printed when a token, a certificate, an
entry and a timestamp were obtained and verified.

With --database-url-file the first start puts the logs into a PostgreSQL database,
whose URL is in that file, for its owner alone (mode 0600).

With --tls the listener speaks TLS by a certificate of an authority that the first
start makes; the client kit has that authority. With --split the services run in
four processes, as sigstack split makes them of a real stack; a directory that ran
so once runs no other way.

A hangup signal does what sigstack reload does, in each process, unless standard
input is a terminal: a test stack ends with it.`,
		Example: `  sigstack up
  sigstack up --tls
  sigstack up --tls --split
  sigstack up --database-url-file /etc/sigstack/database-url
  sigstack up --dir /tmp/stack --listen 127.0.0.1:9000
  sigstack up --trust-issuer http://localhost:5556/dex
  sigstack up --trust-issuer https://ci.example,type=github-workflow`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("tls") {
				return a.up(cmd.Context(), u, nil)
			}
			return a.up(cmd.Context(), u, &u.tls)
		},
	}
	f := cmd.Flags()
	f.StringVar(&u.dir, "dir", defaultDir, "data `directory`, made if absent")
	f.StringVar(&u.listen, "listen", "", "`host:port` to listen on, loopback only; port 0 is any free one at the first start (default "+defaultListen+", or the stored one)")
	f.StringVar(&u.url, "url", "", "`URL` for clients, fixed at the first start (default http://localhost:PORT, with --tls https://localhost:PORT)")
	f.BoolVar(&u.tls, "tls", false, "speak TLS, fixed at the first start (default: as the directory has it, else not)")
	f.BoolVar(&u.split, "split", false, "run the services in four processes with keys of their own, from the first start with this flag on")
	f.StringArrayVar(&u.issuers, "trust-issuer", nil, issuerUsage)
	f.StringVar(&u.tufProfile, "tuf-profile", "", tufProfileUsage+"; of the first start")
	u.database.add(f)
	f.IntVar(&u.listenFD, "listen-fd", 0, "listen on an inherited `descriptor`")
	if err := f.MarkHidden("listen-fd"); err != nil {
		panic(err) // it is defined above
	}
	u.log.add(f, "warn")
	return cmd
}

type upFlags struct {
	dir, listen, url string
	tls, split       bool
	listenFD         int
	tufProfile       string
	issuers          []string
	database         databaseFlags
	log              logFlags
}

// up runs a test stack; tls is --tls if that was given.
func (a *app) up(ctx context.Context, u upFlags, tls *bool) error {
	done, err := stack.Layout{Dir: u.dir}.Initialized()
	if err != nil {
		return err
	}
	if done && anyPort(u.listen) {
		u.listen = "" // the first start chose one, and the URL has it
	}
	opts, err := u.options(a)
	if err != nil {
		return err
	}
	opts.TLS = tls
	if done && u.tufProfile != "" {
		if err := u.keepsTUFProfile(); err != nil {
			return err
		}
	}
	if done && u.database.given() {
		if err := u.keepsDatabase(); err != nil {
			return err
		}
	}
	privateFiles()
	if u.split {
		return a.upSplit(ctx, u, opts, done)
	}
	l := stack.Layout{Dir: u.dir}
	if !done {
		if err := a.makeTestStack(ctx, &opts, u); err != nil {
			return err
		}
	}
	received, stop := a.hangupsOfTests()
	defer stop()
	opened := func(s *stack.Stack) func() { return reloadOn(ctx, received, s) }
	return stack.Serve(ctx, opts, opened, func(s *stack.Stack) {
		if name := s.Process(); name != "" {
			a.announceProcess(s)
			return
		}
		a.announce(readyLine{s.URL(), s.Address(), s.RootSHA256()}, l)
	})
}

// keepsTUFProfile refuses another profile than the one of the first start.
func (u upFlags) keepsTUFProfile() error {
	conf, err := loadConfig(stack.Layout{Dir: u.dir})
	if err != nil || conf.TUF == nil || u.tufProfile == conf.TUF.Profile {
		return err
	}
	return usagef("--tuf-profile %s: it was chosen at the first start: change tuf.profile in config.yaml", u.tufProfile)
}

// options checks all flags before anything is made.
func (u upFlags) options(a *app) (opts stack.Options, err error) {
	opts = stack.Options{Dir: u.dir, Profile: config.ProfileUp, URL: u.url, Listen: u.listen, Version: version, Now: a.now, CheckEvery: a.checkEvery}
	if opts.Log, err = u.log.logger(a.err); err != nil {
		return opts, err
	}
	if opts.ExtraIssuers, err = parseIssuers(u.issuers); err != nil {
		return opts, err
	}
	if _, err := tufProfile(u.tufProfile); err != nil {
		return opts, err
	}
	if err := config.CheckURL(u.url); u.url != "" && err != nil {
		return opts, usagef("--url: %w", err)
	}
	if u.tls && strings.HasPrefix(u.url, "http:") {
		return opts, usagef("--url %s: with --tls the URL begins with https://", u.url)
	}
	if u.listenFD != 0 {
		if opts.Listener, err = net.FileListener(os.NewFile(uintptr(u.listenFD), "listener")); err != nil {
			return opts, fmt.Errorf("listen on descriptor %d: %w", u.listenFD, err)
		}
	}
	if u.listen == "" {
		return opts, nil
	}
	if err := config.CheckAddress(u.listen); err != nil {
		return opts, usagef("--listen: %w", err)
	}
	if !config.IsLoopback(u.listen) {
		return opts, usagef("--listen %s: a test stack listens on loopback only", u.listen)
	}
	return opts, nil
}

// makeTestStack makes a stack for opts and adds to them the listener that it will
// be served on: its port is part of the URL, so it is taken before anything is
// made.
func (a *app) makeTestStack(ctx context.Context, opts *stack.Options, u upFlags) error {
	database, err := u.database.init()
	if err != nil {
		return err
	}
	address := listenFor(opts.Listen, opts.URL)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return stack.ListenFailed(err)
	}
	address = listener.Addr().String()
	url, err := chooseURL(opts.URL, address)
	tls := opts.TLS != nil && *opts.TLS
	if err == nil && tls {
		url = "https://" + strings.TrimPrefix(strings.TrimPrefix(url, "https://"), "http://")
	}
	if err == nil {
		err = stack.Init(ctx, stack.InitConfig{
			Dir: opts.Dir, Profile: config.ProfileUp, URL: url, Listen: address,
			TLS: stack.InitTLS{BehindProxy: !tls}, Issuers: opts.ExtraIssuers, TUFProfile: u.tufProfile, Database: database,
			Now: a.now, Log: opts.Log,
		})
	}
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	opts.Listener = listener
	return nil
}

// readyLine is what is said of a stack, or of one of its processes, that is ready.
type readyLine struct {
	Ready      string `json:"ready"`
	Listen     string `json:"listen"`
	RootSHA256 string `json:"root_sha256"`
}

// announceProcess says that a process behind a front is ready.
func (a *app) announceProcess(s *stack.Stack) {
	a.result(readyLine{s.Process(), s.Address(), s.RootSHA256()}, func() {
		a.printf("ready %s of %s\nlistening on %s, for the other processes alone\n", s.Process(), s.URL(), s.Address())
	})
}

// announce says that the stack is ready, and what to try. It is one write: who
// reads the first line only may close the pipe, and another write would end us.
func (a *app) announce(s readyLine, l stack.Layout) {
	kit := l.Client()
	if abs, err := filepath.Abs(kit); err == nil {
		kit = abs
	}
	a.result(struct {
		readyLine

		Kit string `json:"kit"`
	}{s, kit}, func() {
		a.printf(`ready %s

TEST ONLY: keys are unprotected and the demo user's password is in %s.
Listening on %s
Trust root: %s/root.json
    sha256:%s

Try, in another shell:
  sigstack token --dir %s > token
  sigstack sign --client %s --identity-token token FILE
  sigstack verify --client %s --certificate-identity %s \
      --certificate-oidc-issuer %s/dex FILE
`, s.Ready, l.DemoUser(), s.Listen, kit, s.RootSHA256, l.Dir, kit, kit, stack.DemoUser, s.Ready)
	})
}

const issuerUsage = "also trust OIDC `issuer` URL[,type=TYPE][,client-id=ID][,subject-domain=DOMAIN], TYPE being email or another one of docs/issuers.md; may be repeated"

// parseIssuers reads the values of --trust-issuer.
func parseIssuers(values []string) ([]config.Issuer, error) {
	var out []config.Issuer
	for _, v := range values {
		parts := strings.Split(v, ",")
		iss := config.Issuer{URL: parts[0], ClientID: "sigstore", Type: "email"}
		for _, part := range parts[1:] {
			key, value, _ := strings.Cut(part, "=")
			if value == "" && key == "client-id" {
				return nil, usagef("--trust-issuer %s: %s has no value", v, key)
			}
			switch key {
			case "type":
				iss.Type = value
			case "client-id":
				iss.ClientID = value
			case "subject-domain":
				iss.SubjectDomain = value
			default:
				return nil, usagef("--trust-issuer %s: unknown setting %q", v, key)
			}
		}
		if err := iss.Validate(); err != nil {
			return nil, usagef("--trust-issuer %s: %w", v, err)
		}
		out = append(out, iss)
	}
	return out, nil
}
