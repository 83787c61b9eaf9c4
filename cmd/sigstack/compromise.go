package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/signing"
	"sigstack/internal/stack"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

func (a *app) compromiseCommand() *cobra.Command {
	var c compromiseFlags
	cmd := &cobra.Command{
		Use:   "compromise ca|log|tsa|ctlog",
		Short: "End the trust in a compromised key, and list what that refuses",
		Long: `End the trust in a key at a moment: that of a chain of the certificate authority
(ca) or of the timestamp authority (tsa), of a shard of the transparency log (log) or
of a CT log (ctlog). The end is published in trusted_root.json, the TUF targets and
the client kit; what was signed until then stays good. It is never moved ahead.

The key that signs TUF's targets is needed, from DIR/offline or where that was moved.
Nothing is signed but what ends the trust in this one key. A key that signs now is
refused unless --stop-issuing is said, which stops its service until another key is
there: let another one take its place first. --plan shows what would happen and
changes nothing.

Then both logs are read over their public APIs, verified as they are read, and every
certificate and entry is listed that the key has to do with, with what becomes of it:
"ends" after that moment, "stays" until it. With --list this is all that happens; it
needs no more than a client kit. With --output json each line is an object.

In a split stack no process ends trust by itself; --list works there, too.`,
		Example: `  sigstack compromise log --key rekor --at 2026-11-20T08:00:00Z --plan
  sigstack compromise ca --key ca --at 2026-11-20T08:00:00Z --dir /var/lib/sigstack \
      --offline /media/offline --offline-passphrase-file /media/passphrase
  sigstack compromise ca --key sha256:15…0e --at 2026-11-20T08:00:00Z --list --client kit`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: stack.CompromisedKinds(),
		RunE:      func(cmd *cobra.Command, args []string) error { return a.compromise(cmd.Context(), c, args[0]) },
	}
	c.shardFlags.add(cmd.Flags())
	c.targetsFlags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&c.key, "key", "", "`name` of the key in DIR/keys, or sha256:HEX of its public half, as sigstack status shows it")
	f.StringVar(&c.at, "at", "", "`time` of the end, as 2026-11-20T08:00:00Z")
	f.BoolVar(&c.plan, "plan", false, "change nothing: show what would end")
	f.BoolVar(&c.list, "list", false, "change nothing and ask only the logs: for anybody with a client kit")
	f.BoolVar(&c.noList, "no-list", false, "end the trust, and read no log")
	f.BoolVar(&c.ends, "ends", false, "list only what is trusted no longer")
	f.BoolVar(&c.stop, "stop-issuing", false, "also if the key signs now: its service is stopped until another key takes its place")
	f.StringVar(&c.client, "client", "", "client kit that says where the logs are: its `directory` (default DIR/client)")
	return cmd
}

// compromiseFlags say which key, and what to do.
type compromiseFlags struct {
	shardFlags
	targetsFlags

	key, at, client                string
	plan, list, noList, ends, stop bool
}

func (c compromiseFlags) order(kind string) (stack.CompromiseOrder, error) {
	at, err := time.Parse(time.RFC3339, c.at)
	switch {
	case c.key == "":
		return stack.CompromiseOrder{}, usagef("--key says which key is compromised")
	case err != nil:
		return stack.CompromiseOrder{}, usagef("--at: %w", err)
	case c.noList && (c.list || c.plan || c.ends):
		return stack.CompromiseOrder{}, usagef("--no-list excludes --list, --plan and --ends")
	case c.list && (c.plan || c.stop):
		return stack.CompromiseOrder{}, usagef("--list asks the logs alone: leave out --plan and --stop-issuing")
	}
	for _, known := range stack.CompromisedKinds() {
		if kind == known {
			return stack.CompromiseOrder{Kind: kind, Key: c.key, At: at, StopIssuing: c.stop}, nil
		}
	}
	return stack.CompromiseOrder{}, usagef("%q is none of %s", kind, strings.Join(stack.CompromisedKinds(), ", "))
}

func (a *app) compromise(ctx context.Context, c compromiseFlags, kind string) error {
	order, err := c.order(kind)
	if err != nil {
		return err
	}
	if c.list {
		id, ok := strings.CutPrefix(strings.ToLower(order.Key), "sha256:")
		if !ok {
			return usagef("--list asks no stack for its keys: name this one by sha256:HEX, as sigstack status shows it")
		}
		return a.listSigned(ctx, c, stack.Compromise{Kind: kind, Key: id, At: order.At.UTC().Truncate(time.Second)})
	}
	var done stack.CompromiseDraft
	if c.plan {
		err = a.withShards(ctx, c.shardFlags, func(ctx context.Context, ch shardChannel) error {
			order.StopIssuing = true // it is shown, and refuses nothing
			return ch.Post(ctx, stack.AdminCompromisePlan, order, &done)
		})
	} else {
		done, err = a.endTrust(ctx, c.shardFlags, c.targetsFlags, order)
	}
	if err != nil {
		return err
	}
	a.compromised(done, c.plan)
	if c.noList {
		return nil
	}
	return a.listSigned(ctx, c, done.Compromise)
}

// endTrust drafts, signs and publishes the end of trust in a key. One that is published
// already is answered as it is.
func (a *app) endTrust(ctx context.Context, f shardFlags, t targetsFlags, order stack.CompromiseOrder) (d stack.CompromiseDraft, err error) {
	signer, err := a.targetsSigner(ctx, f, t) // before anything is noted
	if err != nil {
		return d, err
	}
	return d, a.withShards(ctx, f, func(ctx context.Context, c shardChannel) error {
		d, err = endTrustBy(ctx, c, signer, order)
		return err
	})
}

// endTrustBy does it over a channel that is open.
func endTrustBy(ctx context.Context, c shardChannel, signer *targetsSigner, order stack.CompromiseOrder) (d stack.CompromiseDraft, err error) {
	if err := c.Post(ctx, stack.AdminCompromiseDraft, order, &d); err != nil || d.Done {
		return d, err
	}
	signed, err := signer.sign(ctx, c, targetsDraft{
		What:    fmt.Sprintf("end the trust in the %s key %s at %s", d.Kind, d.Key, stamp(d.At)),
		Targets: d.Targets,
		Approve: func(change tufroot.Change) error { return d.EndsTrust(change) },
	})
	if err != nil {
		return d, err
	}
	var list stack.CompromiseList
	if err := c.Post(ctx, stack.AdminCompromisePublish, signer.publication(signed), &list); err != nil {
		return d, err
	}
	for _, e := range list.Ended {
		if e.Kind == d.Kind && e.Key == d.Key {
			d.Compromise = e
		}
	}
	return d, nil
}

// compromised tells of an end, or of what would be one.
func (a *app) compromised(d stack.CompromiseDraft, plan bool) {
	d.Targets = nil
	a.line(d, func() {
		switch {
		case d.Done:
			a.printf("the trust in the %s key %s ended at %s already\n", d.Kind, d.Key, stamp(d.At))
		case plan:
			a.printf("would end the trust in the %s key %s at %s\n", d.Kind, d.Key, stamp(d.At))
			if d.Active {
				a.printf("the key signs now: let another one take its place first, or say --stop-issuing\n")
			}
		default:
			a.printf("ended the trust in the %s key %s at %s\n", d.Kind, d.Key, stamp(d.At))
			a.printf("published %s in trusted_root.json, the TUF targets and the client kit; with every client from %s on\n", stamp(d.Published), stamp(d.Distributed))
		}
	})
}

// line prints one object of many, on one line.
func (a *app) line(v any, text func()) {
	if a.format != "json" {
		text()
		return
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic("sigstack: result cannot be encoded: " + err.Error())
	}
	a.printf("%s\n", data)
}

// survey reads the logs that a client kit names.
func (a *app) survey(kit string, c stack.Compromise) (stack.Survey, error) {
	root, err1 := readTrust("--client", filepath.Join(kit, trust.TrustedRootName), aTrustedRoot)
	config, err2 := readTrust("--client", filepath.Join(kit, trust.SigningConfigName), aSigningConfig)
	tls, err3 := signing.LoadAuthorities(kit)
	if err := errors.Join(err1, err2, err3); err != nil {
		return stack.Survey{}, err
	}
	return stack.Survey{Compromise: c, TrustedRoot: root, SigningConfig: config, TLS: tls, Now: a.now()}, nil
}

// listSigned reads the logs, and prints while it reads.
func (a *app) listSigned(ctx context.Context, f compromiseFlags, c stack.Compromise) error {
	kit := f.client
	if kit == "" {
		kit = filepath.Join(f.dir, "client")
	}
	survey, err := a.survey(kit, c)
	if err != nil {
		return err
	}
	n, err := survey.List(ctx, func(s stack.Signed) error {
		if f.ends && s.Trust != stack.TrustEnds {
			return nil
		}
		a.line(s, func() { a.printSigned(s) })
		return nil
	})
	if err != nil {
		return fmt.Errorf("the list is not complete: %w", err)
	}
	a.line(map[string]stack.SignedCount{"summary": n}, func() { a.printSummary(n) })
	return nil
}

func (a *app) printSigned(s stack.Signed) {
	name := s.Subject
	if name == "" {
		name = "no certificate"
	}
	if s.What == "certificate" {
		name = s.Subject + "  serial " + s.Serial
	}
	a.printf("%-5s  %-11s  %s  index %d  %s\n", s.Trust, s.What, s.At.Format(timeFormat), s.Index, signing.Printable(name, maxErrorLine))
}

func (a *app) printSummary(n stack.SignedCount) {
	a.printf("read and verified: %d entries, %d certificates\n", n.EntriesRead, n.CertificatesRead)
	a.printf("trust ends for %d entries and %d certificates, and stays for %d and %d\n", n.EntriesEnd, n.CertificatesEnd, n.EntriesStay, n.CertificatesStay)
}
