package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/config"
	"sigstack/internal/signing"
	"sigstack/internal/stack"
)

type explainFlags struct {
	dir, url string
	offline  bool
	tlsFlag
}

func (a *app) explainTokenCommand() *cobra.Command {
	var e explainFlags
	cmd := &cobra.Command{
		Use:   "explain-token FILE",
		Short: "Say why a certificate authority would take an identity token or refuse it",
		Long: `Read an identity token from FILE, or from standard input if FILE is -, and make
every check that a certificate authority makes of it, by the authority's own code:
what was expected, what was found, and what the certificate would say. The token
itself is never shown; what its claims say is.

With --dir the authority is that of a data directory, by its config.yaml as it is
now; nothing needs to be served. With --url it is any, by what it publishes, which
rules and CI systems' metadata are not part of. Issuers are asked for their keys, as
the authority does; --offline leaves that out, and with it the signature.

Exit code 0 if the token would be accepted as far as it was checked, 1 if not. What
was left out is said, and "complete" in JSON is false then: without the check of
the signature anybody could have made the token.`,
		Example: `  sigstack token | sigstack ca explain-token -
  sigstack ca explain-token token --dir /var/lib/sigstack
  sigstack ca explain-token token --url https://sigstack.corp.example --output json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if e.url != "" && cmd.Flags().Changed("dir") {
				return usagef("--dir and --url exclude each other: which authority do you mean?")
			}
			return a.explainToken(cmd.Context(), e, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&e.dir, "dir", defaultDir, "data `directory` of the authority")
	f.StringVar(&e.url, "url", "", "`URL` of the authority, instead of --dir")
	f.BoolVar(&e.offline, "offline", false, "ask no issuer for its keys, and leave signatures unchecked")
	e.tlsFlag.add(f)
	return cmd
}

func (a *app) explainToken(ctx context.Context, e explainFlags, file string) error {
	if err := checkNoToken("FILE", file); err != nil {
		return err
	}
	raw, err := await(ctx, func() (string, error) { return signing.ReadToken(file, a.in) })
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("%w", err)
	}
	if err != nil {
		return err
	}
	q := stack.TokenQuestion{Token: raw, Offline: e.offline, Now: a.now, Log: discardLog()}
	report, err := e.ask(ctx, q)
	if err != nil {
		return err
	}
	a.result(report, func() { a.printExplanation(report) })
	if failed, err := report.Failed(); err == nil {
		return fmt.Errorf("the token would be refused: %s", failed.Message)
	}
	return nil
}

func (e explainFlags) ask(ctx context.Context, q stack.TokenQuestion) (*stack.Explanation, error) {
	if e.url == "" {
		if e.file != "" {
			return nil, usagef("--tls-ca is for --url: a data directory brings its own")
		}
		l := stack.Layout{Dir: e.dir}
		if err := wantStack(l); err != nil {
			return nil, err
		}
		return stack.ExplainToken(ctx, l, q)
	}
	url := strings.TrimSuffix(e.url, "/")
	given, err := e.authorities()
	if err != nil {
		return nil, err
	}
	if err := config.CheckURL(url); err != nil {
		return nil, usagef("--url: %w", err)
	}
	client, err := given.HTTPClient(url)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	return stack.ExplainTokenAt(ctx, url, client, q)
}

// checkWords says what each check is about.
var checkWords = map[string]string{
	"form": "form", "issuer": "issuer is trusted", "audience": "audience", "expiry": "not expired", "not_before": "valid already",
	"issuer_keys": "keys of the issuer", "signature": "signature", "identity": "identity", "policy": "rules of the issuer",
}

func (a *app) printExplanation(r *stack.Explanation) {
	if i := r.Issuer; i != nil {
		backed := ""
		if i.LocallyBacked {
			backed = ", locally backed: the authority's operator says which keys are its"
		}
		a.printf("issuer %s, client id %s, type %s%s\n", shown(i.URL), shown(i.ClientID), i.Type, backed)
	}
	for n, c := range r.Checks {
		outcome := strings.ReplaceAll(string(c.Outcome), "_", " ")
		if c.Outcome == stack.CheckFailed {
			outcome = "FAIL"
		}
		a.printf("%2d %-20s %s\n", n+1, cmp.Or(checkWords[string(c.Name)], string(c.Name)), outcome)
		for _, fact := range []struct{ name, text string }{
			{"why", c.Message}, {"expected", c.Expected}, {"found", c.Found}, {"token says", c.Said},
		} {
			if fact.text != "" {
				a.printf("     %-11s %s\n", fact.name, shown(fact.text))
			}
		}
	}
	a.printRules(r)
	a.printCertificate(r)
}

func (a *app) printRules(r *stack.Explanation) {
	for _, rule := range r.Rules {
		switch {
		case rule.Outcome == stack.CheckPassed:
			a.printf("rule %s holds\n", rule.Name)
		case rule.Failed != "":
			a.printf("rule %s cannot be decided, because %s: %s\n", rule.Name, shown(rule.Failed), shown(rule.Message))
		default:
			a.printf("rule %s refuses: %s\n", rule.Name, shown(rule.Message))
		}
	}
}

func (a *app) printCertificate(r *stack.Explanation) {
	if c := r.Certificate; c != nil {
		a.printf("the certificate would say, for %s\n", c.Lifetime)
		a.printf("   %-24s %-28s %s\n", "name", c.NameType, shown(c.Name))
		for _, e := range c.Extensions {
			a.printf("   %-24s %-28s %s\n", e.OID, e.Name, shown(e.Value))
		}
	}
	switch {
	case r.Accepted && r.Complete:
		a.printf("the token would be accepted\n")
	case r.Accepted && r.Unsigned():
		a.printf("the token would be accepted as far as it was checked, if its signature is good: that was not checked\n")
	case r.Accepted:
		a.printf("the token would be accepted as far as it was checked\n")
	}
}
