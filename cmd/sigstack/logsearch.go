package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/signing"
	"sigstack/internal/stack"
)

// searchFlags are the question.
type searchFlags struct {
	logSourceFlags
	query         signing.LogQuery
	file, keyFile string
	limit         int
	all           bool
}

func (a *app) logSearchCommand() *cobra.Command {
	var s searchFlags
	cmd := &cobra.Command{
		Use:   "search",
		Short: "Find entries by who signed or what was signed, and verify each",
		Long: `Find entries of the transparency log by the e-mail address or other name of who
signed, the digest of what was signed, a file that has it, or a public key; by any of
what is given or, with --and, by all. The newest come first. Each is read and verified
as log get does, and has to be what was asked for: match says whether its body says so
itself or, where the body cannot, the log's index alone does, as for the digests in a
statement that is not logged.

A log that is asked tells at most its newest 1000; with --dir all are found in a
directory that nothing serves, or a copy of one. Exit code 1 if nothing is found.`,
		Example: `  sigstack log search --email release@example.com --client kit
  sigstack log search --file app.tar.gz --client kit --output json
  sigstack log search --key signer.pub --dir /backup/sigstack --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.logSearch(cmd.Context(), s) },
	}
	s.logSourceFlags.add(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&s.query.Email, "email", "", "e-mail address in the signer's certificate")
	f.StringVar(&s.query.Subject, "subject", "", "any name in the signer's certificate, such as a URI")
	f.StringVar(&s.query.Hash, "hash", "", "digest in hex of an artifact, payload or envelope; sha256: and the like may be in front")
	f.StringVar(&s.file, "file", "", "`file` whose SHA-256 was signed")
	f.StringVar(&s.keyFile, "key", "", "`file` with the public key or certificate that signed")
	f.StringVar(&s.query.KeyFormat, "key-format", "x509", "format of --key: x509 (PEM), pgp, minisign, ssh or tuf")
	f.BoolVar(&s.query.And, "and", false, "only entries that have all of what is given")
	f.IntVar(&s.limit, "limit", 20, "show this many, the newest")
	f.BoolVar(&s.all, "all", false, "show all")
	return cmd
}

// load reads the files of the question and checks it.
func (s *searchFlags) load() error {
	if s.file != "" && s.query.Hash != "" {
		return usagef("--file and --hash exclude each other: both are a digest")
	}
	if !slices.Contains([]string{"x509", "pgp", "minisign", "ssh", "tuf"}, s.query.KeyFormat) {
		return usagef("--key-format %q: want x509, pgp, minisign, ssh or tuf", shown(s.query.KeyFormat))
	}
	if s.limit < 1 {
		return usagef("--limit %d: want at least 1, or --all", s.limit)
	}
	if s.all {
		s.limit = 0
	}
	var err error
	if s.file != "" {
		if s.query.Hash, err = digestOf(s.file); err != nil {
			return err
		}
	}
	if s.keyFile != "" {
		if s.query.Key, err = readGiven(s.keyFile, maxKeyFile); err != nil {
			return err
		}
	}
	if s.query.Email+s.query.Subject+s.query.Hash == "" && len(s.query.Key) == 0 {
		return usagef("nothing to search for: give --email, --subject, --hash, --file or --key")
	}
	return nil
}

func digestOf(path string) (digest string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", usagef("%w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

func (a *app) logSearch(ctx context.Context, s searchFlags) (err error) {
	if err := s.load(); err != nil {
		return err
	}
	log, err := s.open(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.close()) }()
	hits, more, err := log.search(ctx, s.query, s.limit)
	if err != nil {
		return err
	}
	found := struct {
		Entries []stack.LogHit `json:"entries"`
		More    string         `json:"more,omitempty"`
	}{hits, more}
	a.result(found, func() { a.printHits(hits, log.vouched()) })
	if more != "" {
		a.notef("%s\n", more)
	}
	if len(hits) == 0 {
		return errors.New("no entry of the log has that")
	}
	return nil
}

func (a *app) printHits(hits []stack.LogHit, vouched string) {
	for _, h := range hits {
		a.printf("%d %s %s %s, by its %s\n", h.LogIndex, time.Unix(h.IntegratedTime, 0).UTC().Format(time.RFC3339), h.EntryID, entryKind(h.Body), h.Match)
	}
	if len(hits) > 0 {
		a.notef("%s\n", vouched)
	}
}

// entryKind says what an entry is; a log may hold what this version cannot read.
func entryKind(body []byte) string {
	var e struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(body, &e); err != nil || e.Kind == "" {
		return "(of no known kind)"
	}
	return shown(e.Kind)
}
