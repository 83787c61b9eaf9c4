package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/stack"
	"sigstack/tuf-root/ceremony"
)

func (a *app) ceremonyCommand() *cobra.Command {
	cmd := group("ceremony", "Have the root and the targets signed by several people",
		a.ceremonyStartCommand(), a.ceremonySignCommand(), a.ceremonyStatusCommand(), a.ceremonyFinishCommand())
	cmd.Long = `Have the root and the targets of the trust root signed by several people, each on a
machine of their own that has no network. What is to be signed goes from one to the
next in a folder, on a stick: start writes it, each signer signs in it, finish
publishes it. Nothing in the folder is believed; it is checked before each signature.
Each step that was interrupted is repeated. docs/operations/ceremony.md has a whole one.`
	return cmd
}

// folderFlag names the folder of a ceremony.
func folderFlag(cmd *cobra.Command, folder *string) {
	cmd.Flags().StringVar(folder, "folder", "", "`folder` of the ceremony, such as on removable media")
}

// openCeremony opens a folder, and says what to do where there is none.
func openCeremony(folder string) (*ceremony.Ceremony, error) {
	if folder == "" {
		return nil, usagef("want --folder: that of the ceremony")
	}
	c, err := ceremony.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: sigstack tuf ceremony start makes one; is this the right folder, and the medium in place?", err)
	}
	return c, err
}

func (a *app) ceremonyStatusCommand() *cobra.Command {
	var folder string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say who has signed, and who has not",
		Long: `Check the folder of a ceremony and say what it would change, who has signed and who
has not. Needs neither the stack nor a network. Exit code 0 also while signatures are
missing; 1 if something in the folder is not as it was.`,
		Example: "  sigstack tuf ceremony status --folder /media/stick/ceremony\n  sigstack tuf ceremony status --folder F --output json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := openCeremony(folder)
			if err != nil {
				return err
			}
			return a.showCeremony(c, folder, true)
		},
	}
	folderFlag(cmd, &folder)
	return cmd
}

// ceremonyStatus is a ceremony for programs.
type ceremonyStatus struct {
	ID         string            `json:"id"`
	Title      string            `json:"title"`
	Started    time.Time         `json:"started"`
	Until      time.Time         `json:"until"`
	Changes    []string          `json:"changes"`
	Roles      []ceremonyRole    `json:"roles"`
	Complete   bool              `json:"complete"`
	Transcript string            `json:"transcript"` // hash of its last line, hex
	Lines      []ceremony.Line   `json:"lines"`
	Published  *stack.TUFStatus  `json:"published,omitempty"`
	Signed     map[string]string `json:"signed,omitempty"` // by sign: key and name
}

// ceremonyRole is one demand for signatures.
type ceremonyRole struct {
	Role      string           `json:"role"`
	Version   int64            `json:"version"`
	AskedBy   string           `json:"asked_by"`
	Threshold int              `json:"threshold"`
	Signed    []ceremonySigner `json:"signed"`
	Missing   []string         `json:"missing"` // key IDs
}

type ceremonySigner struct {
	Key string    `json:"key"`
	Who string    `json:"who"`
	At  time.Time `json:"at"`
}

func statusOfCeremony(c *ceremony.Ceremony) (ceremonyStatus, error) {
	st := c.Status()
	out := ceremonyStatus{
		ID: st.ID, Title: st.Title, Started: st.Started, Until: st.Until, Changes: c.Changes(),
		Roles: []ceremonyRole{}, Complete: st.Complete, Transcript: st.Head,
	}
	for _, r := range st.Roles {
		role := ceremonyRole{Role: r.Role, Version: r.Version, AskedBy: r.Of, Threshold: r.Threshold, Signed: []ceremonySigner{}, Missing: r.Missing}
		for _, s := range r.Signed {
			role.Signed = append(role.Signed, ceremonySigner{s.Key, s.Who, s.At})
		}
		out.Roles = append(out.Roles, role)
	}
	var err error
	out.Lines, err = c.Transcript()
	return out, err
}

// showCeremony prints a ceremony, with its changes or without.
func (a *app) showCeremony(c *ceremony.Ceremony, folder string, changes bool) error {
	st, err := statusOfCeremony(c)
	if err != nil {
		return err
	}
	a.result(st, func() {
		a.printf("%s\nceremony %s\nstarted %s, to be signed until %s\n", st.Title, st.ID, stamp(st.Started), stamp(st.Until))
		if changes {
			a.printf("\n%s", changeList(st.Changes))
		}
		a.printf("\n")
		a.printSigners(st)
		a.printf("next  %s\n", nextCeremonyStep(st, folder))
	})
	return nil
}

func changeList(changes []string) string {
	var b strings.Builder
	for _, line := range changes {
		b.WriteString("  - " + line + "\n")
	}
	return b.String()
}

func (a *app) printSigners(st ceremonyStatus) {
	for _, r := range st.Roles {
		a.printf("%s version %d, for %s: %d of %d signatures\n", r.Role, r.Version, r.AskedBy, len(r.Signed), r.Threshold)
		for _, s := range r.Signed {
			a.printf("  signed   %.16s  %s  %s\n", s.Key, stamp(s.At), s.Who)
		}
		for _, key := range r.Missing {
			a.printf("  not yet  %.16s\n", key)
		}
	}
}

func nextCeremonyStep(st ceremonyStatus, folder string) string {
	if st.Complete {
		return fmt.Sprintf("sigstack tuf ceremony finish --folder %s --dir DIR publishes it", folder)
	}
	return fmt.Sprintf("hand the folder to the next signer: sigstack tuf ceremony sign --folder %s --dir KEYS --key NAME", folder)
}

func (a *app) ceremonyFinishCommand() *cobra.Command {
	var folder string
	var f shardFlags
	var unchecked []string
	cmd := &cobra.Command{
		Use:   "finish",
		Short: "Publish what was signed",
		Long: `Publish what the signers of a ceremony have signed, in a directory that is served or
not: targets first, then the root; and the client kit. A directory that waits for its
first root gets it, and can be served then. Nothing is published before the targets
were held against the services as they run. A finish that was interrupted is
repeated: it publishes what is missing.`,
		Example: "  sigstack tuf ceremony finish --folder /media/stick/ceremony --dir /var/lib/sigstack",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ceremonyFinish(cmd.Context(), folder, f, unchecked)
		},
	}
	folderFlag(cmd, &folder)
	f.add(cmd.Flags())
	uncheckedFlag(cmd, &unchecked)
	return cmd
}

// uncheckedFlag lets checks of live services fail.
func uncheckedFlag(cmd *cobra.Command, unchecked *[]string) {
	cmd.Flags().StringArrayVar(unchecked, "unchecked", nil, "publish although this `check` of a service fails, as the refusal names it; may be repeated")
}

func (a *app) ceremonyFinish(ctx context.Context, folder string, f shardFlags, unchecked []string) error {
	c, err := openCeremony(folder)
	if err != nil {
		return err
	}
	root, targets, err := c.Signed()
	if errors.Is(err, ceremony.ErrTooFew) {
		return fmt.Errorf("nothing was published: %w\nhand the folder to who is missing: sigstack tuf ceremony sign --folder %s --dir KEYS --key NAME", err, folder)
	}
	if err != nil {
		return err
	}
	if err := c.Record(); err != nil {
		return err
	}
	return a.withTUF(ctx, f, func(ctx context.Context, ch shardChannel) error {
		var before, after stack.TUFStatus
		if err := ch.Get(ctx, stack.AdminTUF, &before); err != nil {
			return err
		}
		if err := fits(c, stack.Layout{Dir: f.dir}, before); err != nil {
			return err
		}
		signed := stack.TUFSigned{Root: root, Targets: targets, Unchecked: unchecked, Ceremony: c.ID(), Transcript: c.Head()}
		if err := ch.Post(ctx, stack.AdminTUFPublish, signed, &after); err != nil {
			return err
		}
		return a.finished(c, f.dir, before, after)
	})
}

// fits demands that the drafts follow upon what a directory has published.
func fits(c *ceremony.Ceremony, l stack.Layout, st stack.TUFStatus) error {
	root, targets, err := l.PublishedTUF(st)
	if err != nil {
		return err
	}
	if err := c.Current(root, targets); err != nil {
		return fmt.Errorf("nothing was published in %s: %w", l.Dir, err)
	}
	return nil
}

func (a *app) finished(c *ceremony.Ceremony, dir string, before, after stack.TUFStatus) error {
	st, err := statusOfCeremony(c)
	if err != nil {
		return err
	}
	st.Published = &after
	a.result(st, func() {
		for _, r := range after.Roles[:2] {
			a.printf("%s version %d is published, until %s\n", r.Role, r.Version, stamp(r.Expires))
		}
		a.printf("first root  sha256:%s\ntranscript  sha256:%s, in the folder: keep it\n", after.RootSHA256, st.Transcript)
		if before.AwaitsRoot {
			a.printf("\nNow:\n  1. Compare the first root's sha256 with the signers, and hand out %s.\n", stack.Layout{Dir: dir}.Client())
			a.printf("  2. sigstack serve --dir %s --passphrase-file FILE\n", dir)
		}
	})
	return nil
}
