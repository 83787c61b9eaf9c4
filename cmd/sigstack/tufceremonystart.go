package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sigstack/internal/stack"
	"sigstack/tuf-root/ceremony"
)

// startFlags say what a ceremony is to change.
type startFlags struct {
	folder, title, renew string
	root, targets        roleFlags
}

// roleFlags say what is to change in a role.
type roleFlags struct {
	keys, add, remove []string // files, files, IDs
	threshold         int
}

// first adds the flags of a role that is not there yet.
func (r *roleFlags) first(cmd *cobra.Command, role string) {
	cmd.Flags().StringArrayVar(&r.keys, role+"-key", nil, "PEM `file` with the public key of a signer of the first "+role+"; may be repeated")
}

// flags adds those that change a role.
func (r *roleFlags) flags(cmd *cobra.Command, role string) {
	f := cmd.Flags()
	f.StringArrayVar(&r.add, "add-"+role+"-key", nil, "PEM `file` with the public key of a further signer of the "+role)
	f.StringArrayVar(&r.remove, "remove-"+role+"-key", nil, "`ID` of a key that signs the "+role+" no more, or how it begins, as sigstack tuf status lists it")
	f.IntVar(&r.threshold, role+"-threshold", 0, "`number` of signatures that the "+role+" needs")
}

func (a *app) ceremonyStartCommand() *cobra.Command {
	var s startFlags
	var f shardFlags
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Write a folder in which signers sign a root, or targets",
		Long: `Write a folder with the drafts of a new root, of targets, or of both, and all that
signers need in order to see what they sign. Nothing of the stack changes before
finish.

A directory that init --ceremony made gets its first root: --root-key and --targets-key
name the public keys of the signers, as keys show printed them, and the thresholds how
many of them must sign. Without --targets-key the signers of the root sign the targets,
too. Otherwise say what changes: keys that are added or removed, thresholds, or with
--renew nothing but versions and expiries. Who takes the place of a signer whose key
was lost is added while the lost key is removed; the old threshold has to be reached
by those who are left, and the new one by those who are then there.`,
		Example: `  sigstack tuf ceremony start --dir /var/lib/sigstack --folder /media/stick/ceremony \
      --root-key alice.pub --root-key bob.pub --root-key carol.pub --root-threshold 2
  sigstack tuf ceremony start --dir /var/lib/sigstack --folder F --add-root-key dave.pub --remove-root-key 3f0c92ab
  sigstack tuf ceremony start --dir /var/lib/sigstack --folder F --renew`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.ceremonyStart(cmd.Context(), s, f) },
	}
	folderFlag(cmd, &s.folder)
	s.root.first(cmd, "root")
	s.root.flags(cmd, "root")
	s.targets.first(cmd, "targets")
	s.targets.flags(cmd, "targets")
	fl := cmd.Flags()
	fl.StringVar(&s.renew, "renew", "", "a new version of `root`, targets or both (the default), if nothing else changes")
	fl.Lookup("renew").NoOptDefVal = "both"
	fl.StringVar(&s.title, "title", "", "one `line` for the signers (default: what the flags say)")
	f.add(fl)
	return cmd
}

func (s startFlags) check() error {
	switch {
	case s.folder == "":
		return usagef("want --folder: one that is empty, or is made")
	case s.renew != "" && s.renew != "root" && s.renew != "targets" && s.renew != "both":
		return usagef("--renew=%s: want root, targets or both", s.renew)
	case s.root.threshold < 0 || s.targets.threshold < 0:
		return usagef("a threshold is 1 or more")
	case s.first() && s.changes():
		return usagef("--root-key and --targets-key are for a first root; --add-root-key and the like change one that there is")
	}
	return nil
}

// first reports whether the flags are those of a first root.
func (s startFlags) first() bool { return len(s.root.keys)+len(s.targets.keys) > 0 }

// changes reports whether they are those of a later one.
func (s startFlags) changes() bool {
	return s.renew != "" || len(s.root.add)+len(s.root.remove)+len(s.targets.add)+len(s.targets.remove) > 0
}

func (a *app) ceremonyStart(ctx context.Context, s startFlags, f shardFlags) error {
	if err := s.check(); err != nil {
		return err
	}
	order, err := s.order()
	if err != nil {
		return err
	}
	return a.withTUF(ctx, f, func(ctx context.Context, ch shardChannel) error {
		var st stack.TUFStatus
		if err := ch.Get(ctx, stack.AdminTUF, &st); err != nil {
			return err
		}
		switch {
		case st.AwaitsRoot && !s.first():
			return usagef("%s has no root yet: name the keys of its first one with --root-key and --root-threshold", f.dir)
		case !st.AwaitsRoot && s.first():
			return usagef("%s has a root already: change it with --add-root-key, --remove-root-key and thresholds, or --renew", f.dir)
		}
		var draft stack.TUFDraft
		if err := ch.Post(ctx, stack.AdminTUFDraft, order, &draft); err != nil {
			return err
		}
		c, err := a.propose(s.folder, cmp.Or(s.title, s.says(st, f.dir)), stack.Layout{Dir: f.dir}, st, draft)
		if err != nil {
			return err
		}
		return a.showCeremony(c, s.folder, true)
	})
}

// propose writes the folder of a draft that follows upon what is published.
func (a *app) propose(folder, title string, l stack.Layout, st stack.TUFStatus, draft stack.TUFDraft) (*ceremony.Ceremony, error) {
	p := ceremony.Proposal{Title: title, Root: draft.Root, Targets: draft.Targets, Files: draft.Files, Now: a.now()}
	var err error
	if p.CurrentRoot, p.CurrentTargets, err = l.PublishedTUF(st); err != nil {
		return nil, err
	}
	if p.CurrentTargets != nil && p.Targets != nil {
		if p.CurrentFiles, err = l.TargetFiles(p.CurrentTargets); err != nil {
			return nil, err
		}
	}
	if p.Targets == nil {
		p.CurrentTargets = nil
	}
	return ceremony.Start(folder, p)
}

// order is what the flags ask for.
func (s startFlags) order() (o stack.TUFOrder, err error) {
	if s.first() && len(s.targets.keys) == 0 {
		s.targets.keys = s.root.keys
		s.targets.threshold = cmp.Or(s.targets.threshold, s.root.threshold)
	}
	if o.Root, err = s.root.order("root", s.renew); err != nil {
		return o, err
	}
	o.Targets, err = s.targets.order("targets", s.renew)
	return o, err
}

func (r roleFlags) order(role, renew string) (stack.TUFRoleOrder, error) {
	o := stack.TUFRoleOrder{Remove: r.remove, Threshold: r.threshold, Renew: renew == role || renew == "both"}
	if len(r.keys) > 0 && r.threshold == 0 {
		return o, usagef("--%s-key needs --%s-threshold: how many of the %d must sign", role, role, len(r.keys))
	}
	for _, file := range append(r.keys[:len(r.keys):len(r.keys)], r.add...) {
		data, err := readGiven(file, maxKeyFile)
		if err != nil {
			return o, err
		}
		if !strings.Contains(string(data), "BEGIN PUBLIC KEY") {
			return o, usagef("%s holds no public key: want what `sigstack keys show NAME` prints", file)
		}
		o.Add = append(o.Add, string(data))
	}
	return o, nil
}

// says is a title by the flags.
func (s startFlags) says(st stack.TUFStatus, dir string) string {
	if st.AwaitsRoot {
		return "The first trust root of " + dir
	}
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s (%d)", what, n))
		}
	}
	add(len(s.root.add), "add root keys")
	add(len(s.root.remove), "remove root keys")
	add(s.root.threshold, "root threshold")
	add(len(s.targets.add), "add targets keys")
	add(len(s.targets.remove), "remove targets keys")
	add(s.targets.threshold, "targets threshold")
	if s.renew != "" {
		parts = append(parts, "renew "+s.renew)
	}
	return "The trust root of " + dir + ": " + strings.Join(parts, ", ")
}
