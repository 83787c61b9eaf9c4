package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"sigstack/internal/signing"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

// asOfFlags choose a moment in the past, and where its trust root is still there.
type asOfFlags struct{ at, dir, mirror string }

func (f *asOfFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.at, "as-of", "", "decide as a client at that `time` would have, such as 2026-11-20T08:00:00Z; any number of files and directories of bundles may be named then")
	fs.StringVar(&f.dir, "dir", defaultDir, "with --as-of: data `directory` with the TUF repository, and the record of when what was published")
	fs.StringVar(&f.mirror, "mirror", "", "with --as-of: `folder` with a copy of the repository, instead of --dir")
}

// asOfVerdict is that on one file. Its trust root is the report's.
type asOfVerdict struct {
	File    string          `json:"file"`
	Verdict string          `json:"verdict"` // accepted or refused
	Reasons []string        `json:"reasons,omitempty"`
	Result  *signing.Result `json:"result,omitempty"`
}

// asOfReport is what a client of then was told, and what it decides.
type asOfReport struct {
	*signing.PastClient

	Files    []asOfVerdict `json:"files"`
	Accepted int           `json:"accepted"`
	Refused  int           `json:"refused"`
}

// verifyAsOf decides on every file, and fails if one is refused.
func (a *app) verifyAsOf(ctx context.Context, v verifyFlags, args []string) error {
	at, err := time.Parse(time.RFC3339, v.asOf.at)
	switch {
	case err != nil:
		return usagef("--as-of: %w", err)
	case at.After(a.now()):
		return usagef("--as-of: %s is ahead, and nobody knows what will be published", v.asOf.at)
	case v.clientFlags.dir != "" || v.trustedRoot != "" || v.tufURL != "":
		return usagef("--as-of takes the trust root of then: leave out --client, --trusted-root and --tuf-url")
	}
	id, err := v.identity()
	if err != nil {
		return err
	}
	files, err := bundledFiles(args)
	if err != nil {
		return err
	}
	if v.bundle != "" && len(files) != 1 {
		return usagef("--bundle is for one file")
	}
	then, err := a.pastClient(v.asOf, at)
	if err != nil {
		return err
	}
	then.Trusted.DemandTimestamp = v.timestamped
	report := asOfReport{PastClient: then, Files: []asOfVerdict{}}
	for _, file := range files {
		got := judgeAsOf(ctx, then, file, cmp.Or(v.bundle, file+signing.BundleSuffix), id)
		if report.Files = append(report.Files, got); got.Verdict == "accepted" {
			report.Accepted++
		} else {
			report.Refused++
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	a.result(report, func() { a.printAsOf(report) })
	if report.Refused > 0 {
		return fmt.Errorf("a client at %s refuses %d of %d", stamp(at), report.Refused, len(files))
	}
	return nil
}

// bundledFiles are the files that args name: each itself, or all in a directory that
// have a bundle beside them.
func bundledFiles(args []string) (out []string, err error) {
	for _, arg := range args {
		if isImage(arg) {
			return nil, usagef("--as-of is for files with bundles, not for images")
		}
		info, err := os.Stat(arg)
		if err != nil {
			return nil, usagef("%w", err)
		}
		if !info.IsDir() {
			out = append(out, arg)
			continue
		}
		err = filepath.WalkDir(arg, func(path string, _ fs.DirEntry, err error) error {
			if file, ok := strings.CutSuffix(path, signing.BundleSuffix); ok {
				out = append(out, file)
			}
			return err
		})
		if err != nil {
			return nil, usagef("%w", err)
		}
	}
	if len(out) == 0 {
		return nil, usagef("no file in %s has a bundle beside it", strings.Join(args, ", "))
	}
	return out, nil
}

// pastClient reads what was published then.
func (a *app) pastClient(f asOfFlags, at time.Time) (*signing.PastClient, error) {
	dir := cmp.Or(f.mirror, stack.Layout{Dir: f.dir}.TUF())
	repo, err := tufroot.Open(tufroot.Config{Dir: dir, Now: a.now})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("no TUF repository is in %s: name a data directory with --dir, or a copy of what it serves with --mirror (%w)", dir, err)
	}
	if err != nil {
		return nil, err
	}
	published, err := repo.Publications()
	if err != nil {
		return nil, err
	}
	if len(published) == 0 {
		return nil, fmt.Errorf("%s has no record of what was published when", dir)
	}
	then := signing.AsOf{Dir: dir, At: at}
	for _, p := range published {
		if !p.At.After(at) {
			then.Root, then.Targets, then.Published = p.Root, p.Targets, p.At
		}
	}
	if then.Targets == 0 {
		return nil, fmt.Errorf("at %s nothing was published yet: the first publication is of %s", stamp(at), stamp(published[0].At))
	}
	for _, r := range repo.Roles() {
		switch r.Role {
		case "snapshot":
			then.SnapshotLife = r.Life
		case "timestamp":
			then.TimestampLife = r.Life
		}
	}
	return then.Load()
}

// judgeAsOf is the decision on one file, and why.
func judgeAsOf(ctx context.Context, then *signing.PastClient, file, bundle string, id *signing.Identity) asOfVerdict {
	out := asOfVerdict{File: file, Verdict: "accepted"}
	refuse := func(reason string) {
		out.Verdict, out.Reasons = "refused", append(out.Reasons, reason)
	}
	if then.Refused != "" {
		refuse(then.Refused)
	}
	b, err := loadBundle(bundle)
	if err != nil {
		refuse(err.Error())
		return out
	}
	result, err := signing.VerifyFile(ctx, file, b, then.Trusted, id)
	if err != nil {
		refuse(err.Error())
		return out
	}
	out.Result = &result
	if remark := then.Remark(result); remark != "" {
		out.Reasons = append(out.Reasons, remark)
	}
	return out
}

func (a *app) printAsOf(r asOfReport) {
	a.printf("as of %s\n", stamp(r.At))
	if !r.Published.IsZero() {
		a.printf("  published   %s\n", stamp(r.Published))
	}
	for _, role := range r.Roles {
		state := "expires"
		if role.Expired {
			state = "EXPIRED"
		}
		a.printf("  %-10s  version %d, %s %s\n", role.Role, role.Version, state, stamp(role.Expires))
	}
	for _, k := range r.Keys {
		until := ""
		if !k.End.IsZero() {
			until = " to " + stamp(k.End)
		}
		a.printf("  %-10s  %s: %s, from %s%s\n", k.Kind, k.State, signing.Printable(k.Name, maxErrorLine), stamp(k.Start), until)
	}
	for _, n := range r.Notes {
		a.printf("  note        %s\n", n)
	}
	for _, f := range r.Files {
		a.printf("%-8s  %s\n", f.Verdict, shown(f.File))
		for _, reason := range f.Reasons {
			a.printf("            %s\n", signing.Printable(reason, maxErrorLine))
		}
	}
	a.printf("accepted %d, refused %d, by %s\n", r.Accepted, r.Refused, r.Trusted)
}
