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
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how each service of a running stack is",
		Long: `Ask a running stack how each of its services is. Exit code 0 if all serve (ok or
warn), 1 if one is down, 3 if the stack cannot be reached.`,
		Example: "  sigstack status\n  sigstack status --url http://localhost:8080 --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			where, err := statusURL(dir, strings.TrimSuffix(url, "/"))
			if err != nil {
				return err
			}
			return a.status(cmd.Context(), where)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultDir, "data `directory` of a stack on this machine")
	cmd.Flags().StringVar(&url, "url", "", "`URL` of the stack, instead of --dir")
	return cmd
}

// statusURL returns url or, without one, where the stack in dir listens.
func statusURL(dir, url string) (string, error) {
	if url == "" {
		return servedAddress(dir)
	}
	if err := config.CheckURL(url); err != nil {
		return "", usagef("--url: %w", err)
	}
	return url, nil
}

// servedAddress returns where the stack in dir listens, as it wrote at its
// start.
func servedAddress(dir string) (string, error) {
	l := stack.Layout{Dir: dir}
	if err := wantStack(l); err != nil {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join(l.Run(), "address"))
	if err != nil {
		return "", &signing.UnreachableError{Service: "stack", URL: dir, Err: fmt.Errorf("it is not running: %w", err)}
	}
	return "http://" + strings.TrimSpace(string(data)), nil
}

func (a *app) status(ctx context.Context, url string) error {
	rep, err := readiness(ctx, url)
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
func readiness(ctx context.Context, url string) (rep httpd.Report, err error) {
	unreachable := func(err error) error { return &signing.UnreachableError{Service: "stack", URL: url, Err: err} }
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return rep, fmt.Errorf("ask stack: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
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
