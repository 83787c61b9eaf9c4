package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/signing"
	"sigstack/internal/stack"
)

func (a *app) statusCommand() *cobra.Command {
	var dir, url string
	var tls tlsFlag
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how each service of a running stack is",
		Long: `Ask a running stack how each of its services is. Exit code 0 if all serve (ok or
warn), 1 if one is down, 3 if the stack cannot be reached.`,
		Example: `  sigstack status
  sigstack status --url https://sigstack.corp.example --output json
  sigstack status --url https://sigstack.corp.example --tls-ca kit/tls-ca.crt.pem`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			given, err := tls.authorities()
			if err != nil {
				return err
			}
			where, client, err := statusOf(dir, strings.TrimSuffix(url, "/"), given)
			if err != nil {
				return err
			}
			defer client.CloseIdleConnections()
			return a.status(cmd.Context(), client, where)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultDir, "data `directory` of a stack on this machine")
	cmd.Flags().StringVar(&url, "url", "", "`URL` of the stack, instead of --dir")
	tls.add(cmd.Flags())
	return cmd
}

// statusOf returns url or, without one, that of the stack in dir, and who asks
// there.
func statusOf(dir, url string, given signing.Authorities) (string, *http.Client, error) {
	if url == "" {
		return servedStack(dir, given)
	}
	if err := config.CheckURL(url); err != nil {
		return "", nil, usagef("--url: %w", err)
	}
	client, err := given.HTTPClient(url)
	return url, client, err
}

// servedStack returns the URL of the stack in dir, and a client that connects to
// where it listens, as it wrote at its start: the URL's host need not lead here,
// but its name is what a certificate must hold.
func servedStack(dir string, given signing.Authorities) (string, *http.Client, error) {
	l := stack.Layout{Dir: dir}
	conf, err := loadConfig(l)
	if err != nil {
		return "", nil, err
	}
	data, err := os.ReadFile(filepath.Join(l.Run(), "address"))
	if err != nil {
		return "", nil, &signing.UnreachableError{Service: "stack", URL: dir, Err: fmt.Errorf("it is not running: %w", err)}
	}
	address := strings.TrimSpace(string(data))
	if conf.TLS == nil { // whatever the URL says: a proxy may terminate TLS
		return "http://" + address, signing.NewHTTPClient(), nil
	}
	kit, err := signing.LoadAuthorities(l.Client())
	if err != nil {
		return "", nil, err
	}
	client, err := append(kit, given...).HTTPClientTo(address, conf.URL)
	return conf.URL, client, err
}

func (a *app) status(ctx context.Context, client *http.Client, url string) error {
	rep, err := readiness(ctx, client, url)
	if err != nil {
		return err
	}
	a.result(rep, func() {
		a.printf("%-8s %-5s\n", "stack", rep.Status)
		for _, name := range slices.Sorted(maps.Keys(rep.Services)) {
			a.printf("%-8s %-5s %s\n", name, rep.Services[name].Status, rep.Services[name].Detail)
		}
	})
	if rep.Status == httpd.Down {
		return errors.New("a service is down")
	}
	return nil
}

// readiness fetches and decodes /readyz, which answers 503 with the same body.
func readiness(ctx context.Context, client *http.Client, url string) (rep httpd.Report, err error) {
	unreachable := func(err error) error { return signing.Unreachable("stack", url, err) }
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return rep, fmt.Errorf("ask stack: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return rep, unreachable(err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return rep, unreachable(fmt.Errorf("/readyz answered %s", resp.Status))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&rep); err != nil {
		return rep, unreachable(fmt.Errorf("/readyz is not a sigstack report: %w", err))
	}
	return rep, nil
}
