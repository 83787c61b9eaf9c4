package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

func (c chainCommands) prepareCommand() *cobra.Command {
	var f shardFlags
	var p chainFlags
	cmd := &cobra.Command{
		Use:     "prepare",
		Short:   "Publish the chain that will issue next",
		Long:    c.prepareLong,
		Example: c.prepareExample,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.prepare(cmd.Context(), f, p) },
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

func (c chainCommands) prepare(ctx context.Context, f shardFlags, p chainFlags) error {
	if err := p.check(); err != nil {
		return err
	}
	signer, err := c.targetsSigner(ctx, f, p.targetsFlags) // before anything is made
	if err != nil {
		return err
	}
	o, err := c.offlineKeys(ctx, f, p.targetsFlags)
	if err != nil {
		return err
	}
	return c.withShards(ctx, f, func(ctx context.Context, channel shardChannel) error {
		chain, name, err := c.next(ctx, channel, p, o)
		if err != nil {
			return err
		}
		var draft stack.ChainDraft
		order := stack.ChainOrder{Certificates: pki.CertificatesPEM(chain), Key: name, Another: p.order.Another}
		if err := channel.Post(ctx, c.of.Paths().Prepare, order, &draft); err != nil {
			return err
		}
		list, err := c.sign(ctx, channel, signer, draft, chain)
		if err != nil {
			return err
		}
		c.result(list, func() { c.printPrepared(f.dir, name, draft.Path, list) })
		return nil
	})
}

// next is the chain that is given, or one for a key that is made for it.
func (c chainCommands) next(ctx context.Context, channel shardChannel, p chainFlags, o offlineKeys) (chain []*x509.Certificate, key string, err error) {
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
	if err := channel.Post(ctx, c.of.Paths().Key, p.order, &next); err != nil {
		return nil, "", err
	}
	if p.ceremony != "" && len(next.Drafted) > 0 { // the one that is before its signers
		chain, err = pki.ParseCertificatesPEM(next.Drafted)
		return chain, next.Name, err
	}
	chain, err = c.issue(next, o.dir, o.passphrase, o.devices, c.now())
	return chain, next.Name, explainOffline(err)
}

// sign has a draft signed and published.
func (c chainCommands) sign(ctx context.Context, channel shardChannel, signer *targetsSigner, draft stack.ChainDraft, added []*x509.Certificate) (list stack.ChainList, err error) {
	signed, err := signer.sign(ctx, channel, targetsDraft{
		What:    fmt.Sprintf("publish the %s chain of %s", strings.ToUpper(c.of.String()), added[0].Subject),
		Targets: draft.Targets,
		Approve: func(change tufroot.Change) error { return c.of.ApproveChain(change, added, c.now()) },
	})
	if err != nil {
		return list, err
	}
	c.notef("signed TUF targets that add the chain of %s and change nothing else\n", added[0].Subject)
	return list, channel.Post(ctx, c.of.Paths().Publish, signer.publication(signed), &list)
}

func (c chainCommands) printPrepared(dir, key, path string, list stack.ChainList) {
	last := list.Chains[len(list.Chains)-1]
	c.printf("prepared the chain of %s\n    sha256:%s\n", last.Subject, last.SHA256)
	c.printf("published in trusted_root.json, the TUF targets and the client kit\n")
	c.printf("\nNow:\n  1. Hand the new kit to clients that have it as files; others ask by themselves.\n")
	c.printf("  2. From %s on let config.yaml say, in section %s:\n", stamp(last.Distributed), c.of)
	c.printf("         key: %s\n         chain: %s\n", key, path)
	c.printf("     The process takes it by itself within seconds, or on: sigstack reload --dir %s\n", dir)
}
