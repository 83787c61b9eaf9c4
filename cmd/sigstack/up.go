package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

const defaultDir = "sigstack-data"

func (a *app) upCommand() *cobra.Command {
	var u upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a test stack on this machine: everything, one process, a demo user",
		Long: `Run a whole stack for tests: made on the first start, kept between starts,
loopback only, keys in the clear, a demo user with a random password.

The first line on stdout is "ready URL", printed when a token, a certificate, an
entry and a timestamp were obtained and verified.`,
		Example: `  sigstack up
  sigstack up --dir /tmp/stack --listen 127.0.0.1:9000
  sigstack up --trust-issuer http://localhost:5556/dex
  sigstack up --trust-issuer https://ci.example,type=github-workflow`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.up(cmd.Context(), u) },
	}
	f := cmd.Flags()
	f.StringVar(&u.dir, "dir", defaultDir, "data `directory`, made if absent")
	f.StringVar(&u.listen, "listen", "", "`host:port` to listen on, loopback only (default 127.0.0.1:8080, or the stored one)")
	f.StringVar(&u.url, "url", "", "`URL` for clients, fixed at the first start (default http://localhost:PORT)")
	f.StringArrayVar(&u.issuers, "trust-issuer", nil, issuerUsage)
	u.log.add(f)
	return cmd
}

type upFlags struct {
	dir, listen, url string
	issuers          []string
	log              logFlags
}

func (a *app) up(ctx context.Context, u upFlags) error {
	log, err := u.log.logger(a.err)
	if err != nil {
		return err
	}
	l := stack.Layout{Dir: u.dir}
	done, err := l.Initialized()
	if err != nil {
		return err
	}
	opts := stack.Options{Dir: u.dir, Profile: config.ProfileUp, URL: u.url, Listen: u.listen, Now: a.now, Log: log}
	if !done {
		// The port is part of the URL, so it is taken before anything is made.
		if opts.Listener, err = listenFirst(ctx, u.listen); err != nil {
			return err
		}
		if err := a.makeTestStack(ctx, u, opts.Listener.Addr().String(), log); err != nil {
			return errors.Join(err, opts.Listener.Close())
		}
	}
	if len(u.issuers) > 0 && done {
		if opts.ExtraIssuers, err = parseIssuers(u.issuers); err != nil {
			return err
		}
	}
	s, err := stack.Open(ctx, opts)
	if err != nil {
		return err
	}
	return s.Run(ctx, func() { a.announce(s, l) })
}

func listenFirst(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		address = "127.0.0.1:8080"
	}
	if !config.IsLoopback(address) {
		return nil, usagef("--listen %s: a test stack listens on loopback only", address)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return listener, nil
}

func (a *app) makeTestStack(ctx context.Context, u upFlags, address string, log *slog.Logger) error {
	issuers, err := parseIssuers(u.issuers)
	if err != nil {
		return err
	}
	url := u.url
	if url == "" {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		url = "http://localhost:" + port
	}
	return stack.Init(ctx, stack.InitConfig{
		Dir: u.dir, Profile: config.ProfileUp, URL: url, Listen: address,
		Issuers: issuers, Now: a.now, Log: log,
	})
}

// announce says that the stack is ready, and what to try.
func (a *app) announce(s *stack.Stack, l stack.Layout) {
	kit := l.Client()
	if abs, err := filepath.Abs(kit); err == nil {
		kit = abs
	}
	a.result(struct {
		Ready      string `json:"ready"`
		Kit        string `json:"kit"`
		RootSHA256 string `json:"root_sha256"`
	}{s.URL(), kit, s.RootSHA256()}, func() {
		a.printf("ready %s\n", s.URL())
		a.printf(`
TEST ONLY: keys are unprotected and the demo user's password is in %s.
Trust root: %s/root.json
    sha256:%s

Try, in another shell:
  sigstack token --dir %s > token
  sigstack sign --client %s --identity-token token FILE
  sigstack verify --client %s --certificate-identity %s \
      --certificate-oidc-issuer %s/dex FILE
`, l.DemoUser(), kit, s.RootSHA256(), l.Dir, kit, kit, stack.DemoUser, s.URL())
	})
}

const issuerUsage = "also trust OIDC `issuer` URL[,type=email|uri|github-workflow][,client-id=ID][,subject-domain=URL]; may be repeated"

// parseIssuers reads the values of --trust-issuer.
func parseIssuers(values []string) ([]config.Issuer, error) {
	var out []config.Issuer
	for _, v := range values {
		parts := strings.Split(v, ",")
		iss := config.Issuer{URL: parts[0], ClientID: "sigstore", Type: "email"}
		for _, part := range parts[1:] {
			key, value, _ := strings.Cut(part, "=")
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
		out = append(out, iss)
	}
	return out, nil
}
