package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

func (a *app) caChainCommand() *cobra.Command {
	cmd := group("chain", "Work with the chains of the certificate authority",
		a.chainListCommand(), a.chainStatusCommand(), a.chainPrepareCommand(), a.chainCloseCommand())
	cmd.Long = `Work with the chains of the certificate authority, one of which issues: that of
ca.chain and ca.key in config.yaml. The next one is prepared first, which publishes
it. When every client has it, config.yaml may name it, and a reload goes over to it,
while certificates are issued. What the one before has issued verifies for ever.`
	return cmd
}

func (a *app) chainListCommand() *cobra.Command {
	var f shardFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the chains that clients trust",
		Long:    "List the chains of the certificate authority, the oldest first: state, key, name\nand fingerprint of the issuing certificate.",
		Example: "  sigstack ca chain list --dir /var/lib/sigstack\n  sigstack ca chain list --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withChains(cmd.Context(), f, func(list stack.ChainList) {
				w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
				a.printTo(w, "STATE\tKEY\tSUBJECT\tNOT AFTER\tSHA-256\n")
				for _, c := range list.Chains {
					a.printTo(w, "%s\t%s\t%s\t%s\t%s\n", c.State, c.Key, c.Subject, stamp(c.NotAfter), c.SHA256)
				}
				_ = w.Flush() // as for any output: there is nowhere left to report it
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (a *app) chainStatusCommand() *cobra.Command {
	var f shardFlags
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Say which chain issues, and what to do about the others",
		Long:    "Say which chain issues, since when, and what to do about the others. With --output\njson it prints what list does.",
		Example: "  sigstack ca chain status --dir /var/lib/sigstack",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withChains(cmd.Context(), f, func(list stack.ChainList) { a.printChainStatus(f.dir, list) })
		},
	}
	f.add(cmd.Flags())
	return cmd
}

// withChains shows the chains of a stack that is served or not.
func (a *app) withChains(ctx context.Context, f shardFlags, show func(stack.ChainList)) error {
	return a.withShards(ctx, f, func(ctx context.Context, c shardChannel) error {
		var list stack.ChainList
		if err := c.Get(ctx, stack.AdminChains, &list); err != nil {
			return err
		}
		a.result(list, func() { show(list) })
		return nil
	})
}

func (a *app) printChainStatus(dir string, list stack.ChainList) {
	for _, c := range list.Chains {
		a.printf("%-9s  %s\n", c.State, c.Subject)
		switch c.State {
		case stack.ChainActive:
			a.printf("           issues since %s, with key %s, until %s at most\n", stamp(c.Since), c.Key, stamp(c.NotAfter))
		case stack.ChainRetired:
			a.printf("           issued until %s\n", stamp(c.Retired))
			if !c.End.IsZero() {
				a.printf("           clients accept nothing of it that is newer than %s\n", stamp(c.End))
			}
		case stack.ChainPrepared:
			a.printf("           published %s, with every client from %s on; key %s, chain %s\n", stamp(c.Published), stamp(c.Distributed), c.Key, c.Path)
		case stack.ChainPreparing:
			a.printf("           not published yet, with key %s: its prepare was interrupted\n", c.Key)
		}
	}
	a.printf("next       %s\n", nextChainStep(dir, list, a.now()))
	if from, open := closable(list); open && from.After(a.now()) {
		a.printf("           not before %s, and when you will not go back: sigstack ca chain close --dir %s\n", stamp(from), dir)
	} else if open {
		a.printf("           when you will not go back: sigstack ca chain close --dir %s ends for ever what clients accept of retired ones\n", dir)
	}
}

// nextChainStep says what to do about the newest chain that has not issued yet.
func nextChainStep(dir string, list stack.ChainList, now time.Time) string {
	next := "sigstack ca chain prepare --dir " + dir + " publishes the chain after it"
	for _, c := range list.Chains {
		switch c.State {
		case stack.ChainPrepared:
			when := "now"
			if c.Distributed.After(now) {
				when = "from " + stamp(c.Distributed) + " on"
			}
			next = fmt.Sprintf("%s let config.yaml say, in section ca, key: %s and chain: %s", when, c.Key, c.Path)
		case stack.ChainPreparing:
			next = fmt.Sprintf("sigstack ca chain prepare --dir %s, with the options of the one that was interrupted, goes on with key %s", dir, c.Key)
		}
	}
	return next
}

// closable reports whether a chain can be closed, and when the last of those that can
// will have had its time.
func closable(list stack.ChainList) (from time.Time, open bool) {
	for _, c := range list.Chains {
		if c.State != stack.ChainRetired || !c.End.IsZero() {
			continue
		}
		if open = true; c.Retired.Add(stack.CloseAfter).After(from) {
			from = c.Retired.Add(stack.CloseAfter)
		}
	}
	return from, open
}

func (a *app) chainPrepareCommand() *cobra.Command {
	var f shardFlags
	var p chainFlags
	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Publish the chain that will issue next",
		Long: `Publish a further chain of the certificate authority in the trust material:
trusted_root.json, the TUF targets and the client kit; and let the CT log take what
it will issue. Nothing issues with it before config.yaml names it.

Without --chain a key is made (ca-2, ca-3, …) and certified by the root of the
present chain, whose key is in DIR/offline or where that was moved. With --chain
another authority has certified the key, whose name in DIR/keys is --key.

The key that signs TUF's targets is needed too; this command uses it itself, and the
process that serves never sees it. Nothing is signed but what adds this one chain to
what was signed last. A prepare that was interrupted is gone on with by the next
one. Exit code 1 if the stack refuses, as it does without --another when a chain is
prepared that has not issued yet.`,
		Example: `  sigstack ca chain prepare --dir /var/lib/sigstack \
      --offline /media/offline --offline-passphrase-file /media/passphrase
  sigstack ca chain prepare --chain corp-2027.pem --key corp-2027`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.chainPrepare(cmd.Context(), f, p) },
	}
	f.add(cmd.Flags())
	fl := cmd.Flags()
	fl.StringVar(&p.chain, "chain", "", "PEM `file` with the chain, the issuing certificate first, the root last")
	fl.StringVar(&p.key, "key", "", "`name` in DIR/keys of the key of --chain")
	fl.StringVar(&p.order.URI, "key-uri", "", "`URI` where the key lives (default: a file in DIR/keys)")
	fl.BoolVar(&p.order.Create, "create-key", false, "make a key at --key-uri if there is none")
	fl.BoolVar(&p.order.Another, "another", false, "also when a chain is prepared that has not issued yet")
	p.add(cmd)
	return cmd
}

// chainFlags say which chain, and where the root keys are.
type chainFlags struct {
	prepareFlags

	chain, key string
	order      stack.ChainKeyOrder
}

func (p chainFlags) check() error {
	switch {
	case (p.chain == "") != (p.key == ""):
		return usagef("--chain and --key go together: the chain, and the name of its key")
	case p.chain != "" && (p.order.URI != "" || p.order.Create):
		return usagef("--key-uri and --create-key are for a key that is to be made; that of --chain is there")
	case p.order.Create && p.order.URI == "":
		return usagef("--create-key says what to do about --key-uri, which is not given")
	case p.order.URI == "":
		return nil
	}
	if err := keys.CheckURI(p.order.URI); err != nil {
		return usagef("--key-uri: %w", err)
	}
	return nil
}

func (a *app) chainPrepare(ctx context.Context, f shardFlags, p chainFlags) error {
	if err := p.check(); err != nil {
		return err
	}
	signer, err := a.targetsSigner(ctx, f, p.targetsFlags) // before anything is made
	if err != nil {
		return err
	}
	o, err := a.offlineKeys(ctx, f, p.targetsFlags)
	if err != nil {
		return err
	}
	return a.withShards(ctx, f, func(ctx context.Context, c shardChannel) error {
		chain, name, err := a.nextChain(ctx, c, p, o)
		if err != nil {
			return err
		}
		var draft stack.ChainDraft
		order := stack.ChainOrder{Certificates: pki.CertificatesPEM(chain), Key: name, Another: p.order.Another}
		if err := c.Post(ctx, stack.AdminChainPrepare, order, &draft); err != nil {
			return err
		}
		list, err := a.signChains(ctx, c, signer, draft, chain)
		if err != nil {
			return err
		}
		a.result(list, func() { a.printChainPrepared(f.dir, name, draft.Path, list) })
		return nil
	})
}

// nextChain is the chain that is given, or one for a key that is made for it.
func (a *app) nextChain(ctx context.Context, c shardChannel, p chainFlags, o offlineKeys) (chain []*x509.Certificate, key string, err error) {
	if p.chain != "" {
		data, err := os.ReadFile(p.chain)
		if err != nil {
			return nil, "", fmt.Errorf("read the chain: %w", err)
		}
		if chain, err = pki.ParseCertificatesPEM(data); err != nil {
			return nil, "", fmt.Errorf("read the chain %s: %w", p.chain, err)
		}
		return chain, p.key, nil
	}
	var next stack.ChainKey
	if err := c.Post(ctx, stack.AdminChainKey, p.order, &next); err != nil {
		return nil, "", err
	}
	chain, err = stack.IssueChain(next, o.dir, o.passphrase, o.devices, a.now())
	return chain, next.Name, explainOffline(err)
}

// signChains signs a draft and has it published.
func (a *app) signChains(ctx context.Context, c shardChannel, signer *targetsSigner, draft stack.ChainDraft, added []*x509.Certificate) (list stack.ChainList, err error) {
	signed, err := signer.sign(ctx, c, targetsDraft{
		What:    "publish the CA chain of " + added[0].Subject.String(),
		Targets: draft.Targets,
		Approve: func(change tufroot.Change) error { return stack.ApproveChain(change, added, a.now()) },
	})
	if err != nil {
		return list, err
	}
	a.notef("signed TUF targets that add the chain of %s and change nothing else\n", added[0].Subject)
	return list, c.Post(ctx, stack.AdminChainPublish, stack.SignedTargets{Targets: signed}, &list)
}

func (a *app) printChainPrepared(dir, key, path string, list stack.ChainList) {
	last := list.Chains[len(list.Chains)-1]
	a.printf("prepared the chain of %s\n    sha256:%s\n", last.Subject, last.SHA256)
	a.printf("published in trusted_root.json, the TUF targets and the client kit\n")
	a.printf("\nNow:\n  1. Hand the new kit to clients that have it as files; others ask by themselves.\n")
	a.printf("  2. From %s on let config.yaml say, in section ca:\n", stamp(last.Distributed))
	a.printf("         key: %s\n         chain: %s\n", key, path)
	a.printf("     The process takes it by itself within seconds, or on: sigstack reload --dir %s\n", dir)
}
