package main

import (
	"github.com/spf13/cobra"

	"sigstack/internal/stack"
)

func (a *app) tsaCommand() *cobra.Command {
	return group("tsa", "Work with the timestamp authority",
		chainCommands{app: a, of: stack.TSA, chainTexts: tsaChainTexts(), issue: stack.IssueTSAChain}.command())
}

func tsaChainTexts() chainTexts {
	return chainTexts{
		short: "Work with the chains of the timestamp authority",
		long: `Work with the chains of the timestamp authority, one of which issues: that of
tsa.chain and tsa.key in config.yaml. The next one is prepared first, which publishes
it. When every client has it, config.yaml may name it, and a reload goes over to it,
while timestamps are issued. What the one before has issued verifies for ever.`,
		listLong: "List the chains of the timestamp authority, the oldest first: state, key, name and\nfingerprint of the certificate whose key signs.",
		prepareLong: `Publish a further chain of the timestamp authority in the trust material:
trusted_root.json, the TUF targets and the client kit. Nothing issues with it before
config.yaml names it. The PEM files for older clients, which know one timestamp
authority, change when the one before is closed.

Without --chain a key is made (tsa-2, tsa-3, …) and certified by the intermediate of
the present chain, whose key is in DIR/offline or where that was moved; one that has
less than half its life left is first renewed by the root there. With --chain another
authority has certified the key, whose name in DIR/keys is --key.

The key that signs TUF's targets is needed too; this command uses it itself, and the
process that serves never sees it. Nothing is signed but what adds this one chain to
what was signed last. A prepare that was interrupted is gone on with by the next
one. Exit code 1 if the stack refuses, as it does without --another when a chain is
prepared that has not issued yet.`,
		prepareExample: `  sigstack tsa chain prepare --dir /var/lib/sigstack \
      --offline /media/offline --offline-passphrase-file /media/passphrase
  sigstack tsa chain prepare --chain corp-tsa.pem --key corp-tsa`,
	}
}
