package main

import (
	"context"
	"errors"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/signing"
)

func (a *app) logGetCommand() *cobra.Command {
	var l logSourceFlags
	cmd := &cobra.Command{
		Use:   "get INDEX|UUID",
		Short: "Read an entry of the log and verify everything about it",
		Long: `Read an entry of the transparency log, by its index in the whole log, its UUID (64
hex digits) or its entry ID (80), and verify all that is printed: that the body has
that leaf hash, the signed entry timestamp, the checkpoint by the key of its shard
in the trust root, and the inclusion proof.

With --dir it reads a directory that nothing serves, or a copy: the body is hashed
and proven in the stored tree. Signatures are made for who asks a served log, so
that there are none. Exit code 1 if there is no such entry or it does not verify.`,
		Example: `  sigstack log get 17 --client kit
  sigstack log get 24296fb24b8ad77a… --client kit --output json
  sigstack log get 17 --dir /backup/sigstack`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withEntry(cmd.Context(), &l, args[0], 0, func(e signing.LogEntry, vouched string) { a.printEntry(e, vouched) })
		},
	}
	l.add(cmd.Flags())
	return cmd
}

var entryNames = regexp.MustCompile(`^([0-9]{1,19}|[0-9a-fA-F]{64}|[0-9a-fA-F]{80})$`)

// withEntry prints an entry by text, or as JSON.
func (a *app) withEntry(ctx context.Context, l *logSourceFlags, name string, size uint64, text func(e signing.LogEntry, vouched string)) (err error) {
	if !entryNames.MatchString(name) {
		return usagef("%q names no entry: want an index, or a UUID of 64 hex digits, or an entry ID of 80", shown(name))
	}
	log, err := l.open(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.close()) }()
	e, err := log.entry(ctx, name, size)
	if err != nil {
		return err
	}
	a.result(e, func() { text(e, log.vouched()) })
	return nil
}

func (a *app) printEntry(e signing.LogEntry, vouched string) {
	a.printf("entry       %s\n", e.EntryID)
	a.printf("index       %d, %d in tree %s of %d\n", e.LogIndex, e.Index, e.TreeID, e.TreeSize)
	a.printf("integrated  %s\n", time.Unix(e.IntegratedTime, 0).UTC().Format(time.RFC3339))
	if e.LogID != "" {
		a.printf("log         %s\n", e.LogID)
	}
	a.printf("root        %s\n", e.RootHash)
	a.printf("body        %s\n", signing.Printable(string(e.Body), maxBodyLine))
	if e.Attestation != nil {
		a.printf("attestation %s\n", signing.Printable(string(e.Attestation), maxBodyLine))
	}
	a.printf("verified    %s\n", vouched)
}

// maxBodyLine is the most bytes of a body on a line; JSON has it whole.
const maxBodyLine = 16 << 10
