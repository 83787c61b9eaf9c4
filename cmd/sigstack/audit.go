package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/audit"
	"sigstack/internal/signing"
	"sigstack/internal/stack"
)

func (a *app) auditCommand() *cobra.Command {
	return group("audit", "Read and verify the audit record", a.auditVerifyCommand(), a.auditShowCommand(), a.auditAnchorCommand())
}

func (a *app) auditAnchorCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "anchor",
		Short: "Enter the audit record's head in the transparency log now",
		Long: `Ask the process that serves a directory, over the directory's admin.sock, to enter
the head of its audit record in the transparency log now, not at the next hour.
Exit code 1 if that fails, 3 if the stack does not run.`,
		Example: "  sigstack audit anchor --dir /var/lib/sigstack",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var answer stack.AuditStatus
			if err := act(cmd.Context(), dir, stack.AdminAnchor, nil, &answer); err != nil {
				return err
			}
			a.result(answer, func() { a.printf("anchored up to record %d\n", answer.Anchored) })
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultDir, "data `directory` of a stack on this machine")
	return cmd
}

// recordFlags say which record.
type recordFlags struct {
	dir   string
	files []string
}

func (r *recordFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.dir, "dir", defaultDir, "data `directory`, served or not")
	cmd.Flags().StringArrayVar(&r.files, "file", nil, "`file` of a record instead of --dir; may be repeated, the oldest first")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if len(r.files) == 0 {
			return wantStack(stack.Layout{Dir: r.dir})
		}
		if cmd.Flags().Changed("dir") {
			return usagef("--dir and --file exclude each other: the one is a whole record, the other some files of one")
		}
		r.dir = ""
		return nil
	}
}

func (a *app) auditVerifyCommand() *cobra.Command {
	var c stack.AuditCheck
	var r recordFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that no line of the audit record was changed or is missing",
		Long: `Verify a whole audit record: each line, the chain that the lines make, the signed
head at its end, and each anchor, that is each head that was entered in the
transparency log. The log is asked whether it still holds them, and whether it
has anchors that the record has lost. Exit code 1 and the first line that is wrong
if anything was removed, changed, reordered, cut off or put in.

In a directory of replicas the database is asked, too, which has the head of each
replica's record: exit code 1 if this record is older, or if another replica has
refused its own.

The kit decides whom to believe: take it from elsewhere than the directory, since
whoever could change the record could change the kit beside it.`,
		Example: `  sigstack audit verify --dir /var/lib/sigstack --client /media/kit
  sigstack audit verify --file audit-00000000000000000001.jsonl --client kit --offline`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Dir, c.Files, c.Now = r.dir, r.files, a.now
			return a.auditVerify(cmd.Context(), c)
		},
	}
	r.add(cmd)
	f := cmd.Flags()
	f.StringVar(&c.KitDir, "client", "", "client kit: its `directory` (default DIR/client)")
	f.StringVar(&c.KeyFile, "key", "", "PEM `file` with the public audit key (default: audit.pub of the kit)")
	f.BoolVar(&c.Offline, "offline", false, "ask neither the log nor the database: a record that was put back as a whole is not found then")
	return cmd
}

func (a *app) auditVerify(ctx context.Context, c stack.AuditCheck) error {
	if c.KitDir == "" {
		if c.Dir == "" {
			return usagef("--file needs --client, the kit to verify by")
		}
		c.KitDir = stack.Layout{Dir: c.Dir}.Client()
	}
	if _, err := signing.LoadKit(c.KitDir); errors.Is(err, fs.ErrNotExist) {
		return usagef("no client kit: %w; name it with --client", err)
	}
	for _, file := range append(slices.Clone(c.Files), c.KeyFile) {
		if file == "" {
			continue
		}
		if err := wantFile(file); err != nil {
			return err
		}
	}
	v, err := stack.VerifyAudit(ctx, c)
	if err != nil {
		var unreachable *signing.UnreachableError
		if errors.As(err, &unreachable) {
			return fmt.Errorf("%w; --offline leaves the log out", err)
		}
		var other *stack.OtherKeyError
		if errors.As(err, &other) {
			return fmt.Errorf("not verified: %w", err)
		}
		return fmt.Errorf("refused: %w", err)
	}
	a.result(v, func() { a.printVerdict(c, v) })
	return nil
}

func (a *app) printVerdict(c stack.AuditCheck, v stack.AuditVerdict) {
	what := stack.Layout{Dir: c.Dir}.Audit()
	if c.Dir == "" {
		what = strings.Join(c.Files, " ")
	}
	files := "files"
	if v.Files == 1 {
		files = "file"
	}
	a.printf("%s: %d records in %d %s, none changed and none missing\n", what, v.Records, v.Files, files)
	a.printf("  records     %d to %d, %s to %s\n", v.FirstSeq, v.LastSeq, stamp(v.First), stamp(v.Last))
	switch {
	case c.Dir == "":
		a.printf("  head        not looked at: what came before and after these files is not known\n")
	case v.Signed:
		a.printf("  head        signed by %s\n", v.Key)
	default:
		a.printf("  head        NOT SIGNED: whoever can write to the directory can cut off the end\n")
	}
	if v.Anchored == 0 {
		a.printf("  anchors     none\n")
	} else {
		a.printf("  anchors     %d, the newest over record %d: entry %d of the log, %s\n", v.Anchors, v.Anchored, v.LogIndex, stamp(v.AnchoredAt))
	}
	if v.LastSeq > v.Anchored {
		a.printf("  unanchored  %d to %d\n", max(v.Anchored+1, v.FirstSeq), v.LastSeq)
	}
	a.printf("  log asked   %s\n  trust root  %s\n", v.Asked, v.TrustRoot)
	for _, r := range v.Replicas {
		what := "kept by replica " + r.Replica + "; verify it there"
		switch {
		case r.Own:
			what = "this one, of replica " + r.Replica
		case !r.Kept:
			what = "of replica " + r.Replica + ", which has it no more: put aside, or LOST"
		}
		a.printf("  database    chain %s up to record %d, %s: %s\n", r.Chain[:16], r.Seq, stamp(r.Seen), what)
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// showFlags choose records.
type showFlags struct {
	recordFlags
	action, outcome, subject, since string

	from time.Time // of since
}

func (a *app) auditShowCommand() *cobra.Command {
	var s showFlags
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print audit records",
		Long: `Print the records of a directory that is served or not, the oldest first. Nothing
is verified: audit verify does that. With --output json each line is one record as
it is in the files.`,
		Example: `  sigstack audit show --since 24h
  sigstack audit show --action ca.certificate --subject ann@corp.example --output json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.auditShow(s) },
	}
	s.add(cmd)
	f := cmd.Flags()
	f.StringVar(&s.action, "action", "", "only this `action`, or with a final dot all that begin so: ca.certificate, oidc.")
	f.StringVar(&s.outcome, "outcome", "", "only this `outcome`: ok, refused or failed")
	f.StringVar(&s.subject, "subject", "", "only records with this in their `subject`")
	f.StringVar(&s.since, "since", "", "only from this `time` on: a duration before now such as 24h, or a time such as 2006-01-02T15:04:05Z")
	return cmd
}

func (a *app) auditShow(s showFlags) error {
	if err := s.parse(a.now()); err != nil {
		return err
	}
	dir := ""
	if s.dir != "" {
		dir = stack.Layout{Dir: s.dir}.Audit()
	}
	return audit.Each(dir, s.files, func(r audit.Record) error {
		if !s.wants(&r) {
			return nil
		}
		if a.format == "json" {
			line, err := r.Line()
			if err != nil {
				return err
			}
			a.printf("%s", line)
			return nil
		}
		a.printRecord(&r)
		return nil
	})
}

func (s *showFlags) parse(now time.Time) error {
	if s.outcome != "" && !slices.Contains([]string{audit.OK, audit.Refused, audit.Failed}, s.outcome) {
		return usagef("--outcome %q: want ok, refused or failed", s.outcome)
	}
	if err := checkAction(s.action); err != nil {
		return err
	}
	if s.since == "" {
		return nil
	}
	if d, err := time.ParseDuration(s.since); err == nil && d >= 0 {
		s.from = now.Add(-d)
		return nil
	}
	var err error
	if s.from, err = time.Parse(time.RFC3339, s.since); err != nil {
		return usagef("--since %q: want a duration such as 24h, or a time such as 2006-01-02T15:04:05Z", s.since)
	}
	return nil
}

// checkAction refuses what no record can have as its action, nor begin with.
func checkAction(action string) error {
	known := audit.Actions()
	switch {
	case action == "" || strings.HasPrefix(action, "admin.") || slices.Contains(known, action):
		return nil
	case strings.HasSuffix(action, ".") && slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, action) }):
		return nil
	}
	return usagef("--action %q: want one of %s and admin.NAME, or with a final dot how some begin", action, strings.Join(known, ", "))
}

func (s *showFlags) wants(r *audit.Record) bool {
	switch {
	case r.Time.Before(s.from):
		return false
	case strings.HasSuffix(s.action, ".") && !strings.HasPrefix(r.Action, s.action):
		return false
	case s.action != "" && !strings.HasSuffix(s.action, ".") && r.Action != s.action:
		return false
	case s.outcome != "" && r.Outcome != s.outcome:
		return false
	}
	return strings.Contains(r.Subject, s.subject)
}

// mostShown bounds a text of a record that is printed, in bytes.
const mostShown = 200

// printRecord prints one line. What strangers have said may not act on the
// terminal, or pass for something else.
func (a *app) printRecord(r *audit.Record) {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s %s %s", r.Seq, r.Time.Format("2006-01-02T15:04:05.000Z07:00"), r.Action, r.Outcome)
	add := func(name, text string) {
		if text == "" {
			return
		}
		text = signing.Printable(text, mostShown)
		if quoted, err := json.Marshal(text); err == nil && strings.ContainsAny(text, " \"=\\") {
			text = string(quoted)
		}
		fmt.Fprintf(&b, " %s=%s", name, text)
	}
	add("subject", r.Subject)
	add("issuer", r.Issuer)
	add("address", r.Address)
	for _, name := range slices.Sorted(maps.Keys(r.Detail)) {
		if name != "bundle" {
			add(signing.Printable(name, mostShown), r.Detail[name])
		}
	}
	add("request_id", r.RequestID)
	a.printf("%s\n", b.String())
}
