package main

import (
	"github.com/spf13/cobra"

	"sigstack/internal/stack"
)

func (a *app) caChainCommand() *cobra.Command {
	return chainCommands{app: a, of: stack.CA, chainTexts: caChainTexts(), issue: stack.IssueChain}.command()
}

func caChainTexts() chainTexts {
	return chainTexts{
		short: "Work with the chains of the certificate authority",
		long: `Work with the chains of the certificate authority, one of which issues: that of
ca.chain and ca.key in config.yaml. The next one is prepared first, which publishes
it. When every client has it, config.yaml may name it, and a reload goes over to it,
while certificates are issued. What the one before has issued verifies for ever.`,
		listLong: "List the chains of the certificate authority, the oldest first: state, key, name\nand fingerprint of the issuing certificate.",
		prepareLong: `Publish a further chain of the certificate authority in the trust material:
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
		prepareExample: `  sigstack ca chain prepare --dir /var/lib/sigstack \
      --offline /media/offline --offline-passphrase-file /media/passphrase
  sigstack ca chain prepare --chain corp-2027.pem --key corp-2027`,
	}
}
