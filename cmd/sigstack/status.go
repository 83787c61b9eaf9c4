package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
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
		Long: `Ask a running stack how each of its services is. With --dir the process that
serves the directory is asked over its admin.sock, and tells its owner more: sizes
of the logs, keys, and when certificates and metadata expire. With --url anybody
may ask. Exit code 0 if all serve (ok or warn), 1 if one is down or the process
refuses to say, 3 if the stack cannot be reached.`,
		Example: `  sigstack status
  sigstack status --url https://sigstack.corp.example --output json
  sigstack status --url https://sigstack.corp.example --tls-ca kit/tls-ca.crt.pem`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if url != "" && cmd.Flags().Changed("dir") {
				return usagef("--dir and --url exclude each other: the one is asked here, the other over the network")
			}
			if url == "" {
				return a.statusOfDir(cmd.Context(), dir)
			}
			return a.statusOfURL(cmd.Context(), strings.TrimSuffix(url, "/"), tls)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultDir, "data `directory` of a stack on this machine")
	cmd.Flags().StringVar(&url, "url", "", "`URL` of the stack, instead of --dir")
	tls.add(cmd.Flags())
	return cmd
}

// statusOfDir asks the process that serves dir.
func (a *app) statusOfDir(ctx context.Context, dir string) error {
	var st stack.Status
	if err := ask(ctx, dir, stack.AdminStatus, &st); err != nil {
		return err
	}
	a.result(st, func() {
		a.printReport(st.Report)
		a.printf("\n")
		a.printDetails(st)
	})
	return verdict(st.Report)
}

// statusOfURL asks as anybody may.
func (a *app) statusOfURL(ctx context.Context, url string, tls tlsFlag) error {
	given, err := tls.authorities()
	if err != nil {
		return err
	}
	if err := config.CheckURL(url); err != nil {
		return usagef("--url: %w", err)
	}
	client, err := given.HTTPClient(url)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	rep, err := readiness(ctx, client, url)
	if err != nil {
		return err
	}
	a.result(rep, func() { a.printReport(rep) })
	return verdict(rep)
}

func verdict(rep httpd.Report) error {
	if rep.Status == httpd.Down {
		return errors.New("a service is down")
	}
	return nil
}

func (a *app) printReport(rep httpd.Report) {
	a.printf("%-8s %-5s\n", "stack", rep.Status)
	for _, name := range slices.Sorted(maps.Keys(rep.Services)) {
		a.printf("%-8s %-5s %s\n", name, rep.Services[name].Status, rep.Services[name].Detail)
	}
}

func (a *app) printDetails(st stack.Status) {
	a.printf("process  %d, version %s, profile %s, up %s\n", st.PID, st.Version, st.Profile, time.Duration(st.Uptime)*time.Second)
	a.printf("url      %s\n", st.URL)
	a.printf("listens  on %s, %d of %d connections open; metrics on %s\n",
		st.Addresses.Public, st.Connections.Open, st.Connections.Most, st.Addresses.Metrics)
	for _, i := range st.Issuers {
		a.printf("issuer   %s\n", shown(issuerLine(i)))
	}
	for _, t := range st.Trees {
		a.printf("tree     %-24s %d entries, head of %s\n", t.Name, t.Size, t.Time.Format(time.RFC3339))
	}
	for _, k := range st.Keys {
		a.printf("key      %-24s sha256:%s %s\n", k.Name, k.SHA256, cmp.Or(k.URI, "in keys/"))
	}
	a.printf("audit    record %d, anchored up to %d, sha256:%s\n", st.Audit.Seq, st.Audit.Anchored, st.Audit.Hash)
	if r := st.Replica; r != nil {
		a.printReplica(*r)
	}
	if r := st.Reload; r != nil {
		a.printf("reload   %s by %s: %s\n", r.At.Format(time.RFC3339), r.By, reloadWords(*r))
	}
	for _, e := range st.Expiry {
		a.printf("expires  %s  %s  %s\n", e.At.Format(time.RFC3339), left(e), e.What)
	}
}

// reloadWords says how a reload ended.
func reloadWords(r stack.ReloadStatus) string {
	words := "took what it found"
	switch {
	case !r.OK:
		return "refused: " + r.Error
	case len(r.Changed) > 0:
		words = "took " + strings.Join(r.Changed, ", ")
	}
	if len(r.NeedsRestart) > 0 {
		words += "; a restart is needed for " + strings.Join(r.NeedsRestart, ", ")
	}
	for _, what := range r.Waiting {
		words += "; " + what
	}
	return words
}

// left words the time that is left, and says where somebody has to act.
func left(e stack.ExpiryStatus) string {
	words := fmt.Sprintf("in %d days", e.Days)
	switch {
	case e.Days < 0:
		return "EXPIRED"
	case e.Days == 0:
		words = "in " + (time.Duration(e.Seconds) * time.Second).String()
	}
	if e.Warning != "" {
		words += " (" + e.Stage + ")"
	}
	return words
}

// readiness fetches and decodes /readyz, which answers 503 with the same body.
func readiness(ctx context.Context, client *http.Client, url string) (rep httpd.Report, err error) {
	unreachable := func(err error) error {
		away := signing.Unreachable("stack", url, err)
		away.Next = cmp.Or(away.Next, "check that it is running and that --url is its URL")
		return away
	}
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
	if plainToTLS(resp) {
		return rep, unreachable(errors.New("the port speaks TLS: begin the URL with https://"))
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return rep, unreachable(fmt.Errorf("/readyz answered %s", resp.Status))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&rep); err != nil {
		return rep, unreachable(fmt.Errorf("/readyz is not a sigstack report: %w", err))
	}
	return rep, nil
}

// plainToTLS reports whether a TLS listener of Go's was asked in plaintext, which
// says so in the body of a 400 alone. What it reads is not needed otherwise.
func plainToTLS(resp *http.Response) bool {
	if resp.StatusCode != http.StatusBadRequest {
		return false
	}
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return err == nil && strings.Contains(string(said), "HTTP request to an HTTPS server")
}
