package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"strconv"

	"github.com/spf13/cobra"

	"sigstack/internal/rotate"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
	"sigstack/tuf-root/ceremony"
)

// rootRotation is the name of the rotation that has a command of its own.
const rootRotation = "root"

// rootChange says which keys of root and targets come and go.
type rootChange struct{ root, targets roleFlags }

func (a *app) rotateRootCommand() *cobra.Command {
	var f rotateFlags
	var change rootChange
	var abandon bool
	cmd := &cobra.Command{
		Use:   rootRotation,
		Short: "Exchange keys of the trust root: those that sign TUF's root and targets",
		Long: `Exchange keys that sign TUF's root or targets, as steps that are noted in
DIR/rotations/root.json, so that the same command goes on with what was interrupted:
draft the root, have it signed, publish it. The flags say which keys come and go.

With --ceremony the root is drafted into that folder, as sigstack tuf ceremony start
does, and the rotation stops with exit code 4 until the signers have signed there; the
same command publishes it then; until then --abandon takes it back. Who has the keys at hand names their directories with
--offline, once for each: enough of the keys that the present root lists and, of root
keys, enough of those that the next one lists. Such a draft is signed only if it changes
nothing else.

Clients follow the roots from the one that they know, so that nothing has to wait.
Nothing that users sign is signed with these keys. Exit codes are those of rotate.`,
		Example: `  sigstack rotate root --dir /var/lib/sigstack --ceremony /media/stick/change \
      --add-root-key dave.pub --remove-root-key 3f0c92ab
  sigstack rotate root --dir /var/lib/sigstack --add-root-key new.pub --remove-root-key 3f0c92ab \
      --offline /media/old --offline /media/new`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if abandon {
				return a.abandonRoot(f.dir)
			}
			return a.rotateRoot(cmd.Context(), f, change)
		},
	}
	f.shardFlags.add(cmd.Flags())
	f.targetsFlags.add(cmd)
	change.root.flags(cmd, "root")
	change.targets.flags(cmd, "targets")
	cmd.Flags().BoolVar(&f.plan, "plan", false, "print the steps, and change nothing")
	cmd.Flags().BoolVar(&abandon, "abandon", false, "forget a rotation that is under way, of which nothing was published yet")
	f.sample.add(cmd.Flags())
	return cmd
}

// abandonRoot forgets a rotation of the root, such as one with a wrong key.
func (a *app) abandonRoot(dir string) error {
	l := stack.Layout{Dir: dir}
	if err := wantStack(l); err != nil {
		return err
	}
	if err := rotate.Abandon(filepath.Join(l.Dir, "rotations"), rootRotation, "publish"); err != nil {
		return err
	}
	a.notef("abandoned: nothing was published. The folder of a ceremony, if there is one, stays where it is\n")
	return nil
}

func (a *app) rotateRoot(ctx context.Context, f rotateFlags, change rootChange) error {
	r := &rotating{a: a, what: rootRotation, f: f, change: change, l: stack.Layout{Dir: f.dir}}
	if _, err := loadConfig(r.l); err != nil {
		return err
	}
	j, err := rotate.Read(r.dir(), r.what)
	if err != nil {
		return err
	}
	facts, err := r.rootFacts(j)
	if err != nil {
		return err
	}
	r.rot = rotate.Rotation{What: r.what, Steps: r.rootSteps()}
	if f.plan {
		return r.printPlan(r.rot, j, facts)
	}
	if r.f.ceremony == "" {
		r.signer = &targetsSigner{app: a, layout: r.l}
		if r.signer.at, err = a.rootKeysAtHand(ctx, f); err != nil {
			return err
		}
	}
	privateFiles()
	return r.run(ctx, j, facts)
}

// rootFacts are what it begins with, and those that it has once it is under way.
func (r *rotating) rootFacts(j *rotate.Journal) (rotate.Facts, error) {
	if r.f.ceremony != "" && len(r.f.offline) > 0 {
		return nil, usagef("--ceremony and --offline exclude each other: signers bring their keys to the folder, or the keys are at hand")
	}
	order, err := r.change.order()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(order)
	if err != nil {
		return nil, fmt.Errorf("note the change: %w", err)
	}
	given := r.change.any()
	if j == nil && !given {
		return nil, usagef("say which keys come and go: --add-root-key, --remove-root-key, --root-threshold, and the same of targets")
	}
	if j == nil {
		facts := rotate.Facts{"order": string(text)}
		if r.f.ceremony != "" {
			facts["folder"], err = filepath.Abs(r.f.ceremony)
		}
		return facts, err
	}
	if given && string(text) != j.Facts["order"] {
		return nil, usagef("a rotation of the root with another change is under way: finish it first, or forget it with sigstack rotate root --abandon --dir %s", r.f.dir)
	}
	folder, err := filepath.Abs(cmp.Or(r.f.ceremony, j.Facts["folder"], "."))
	switch {
	case err != nil:
		return nil, err
	case r.f.ceremony == "" && len(r.f.offline) == 0 || r.f.ceremony != "" && folder == j.Facts["folder"]:
		r.f.ceremony = j.Facts["folder"]
	case (r.f.ceremony == "") != (j.Facts["folder"] == "") || r.f.ceremony != "":
		return nil, usagef("the rotation was begun with --ceremony %q, and goes on with that", j.Facts["folder"])
	}
	return j.Facts, nil
}

func (c rootChange) any() bool {
	for _, r := range []roleFlags{c.root, c.targets} {
		if len(r.add)+len(r.remove) > 0 || r.threshold != 0 {
			return true
		}
	}
	return false
}

func (c rootChange) order() (o stack.TUFOrder, err error) {
	if c.root.threshold < 0 || c.targets.threshold < 0 {
		return o, usagef("a threshold is 1 or more")
	}
	if o.Root, err = c.root.order("root", ""); err != nil {
		return o, err
	}
	o.Targets, err = c.targets.order("targets", "")
	return o, err
}

func (r *rotating) rootSteps() []rotate.Step {
	return []rotate.Step{
		{Name: "draft", Does: "draft a root with the other keys", Do: r.draftRoot},
		{Name: "sign", Does: "have enough of the signers sign it", Do: r.rootSigned},
		{Name: "publish", Does: "publish it", Did: r.rootPublished, Do: r.publishRoot},
	}
}

// rootDraft is what is drafted, and what it follows upon.
type rootDraft struct {
	stack.TUFDraft

	status        stack.TUFStatus
	root, targets []byte // published
	roles         []rootRole
}

// draft has the process draft what was ordered, and refuses what is not that.
func (r *rotating) draft(ctx context.Context, c shardChannel, f rotate.Facts) (d rootDraft, err error) {
	var order stack.TUFOrder
	if err := json.Unmarshal([]byte(f["order"]), &order); err != nil {
		return d, fmt.Errorf("fact order: %w", err)
	}
	if err := c.Get(ctx, stack.AdminTUF, &d.status); err != nil {
		return d, err
	}
	if d.status.AwaitsRoot {
		return d, usagef("%s has no trust root yet: sigstack tuf ceremony start makes its first one", r.f.dir)
	}
	if d.root, d.targets, err = r.l.PublishedTUF(d.status); err != nil {
		return d, err
	}
	if err := c.Post(ctx, stack.AdminTUFDraft, order, &d.TUFDraft); err != nil {
		return d, err
	}
	d.roles, err = approveRoot(d, order, r.a.now())
	return d, err
}

// draftRoot drafts the root, into the folder of a ceremony if there is one.
func (r *rotating) draftRoot(ctx context.Context, f rotate.Facts) error {
	return r.act(ctx, func(ctx context.Context, c shardChannel) error {
		d, err := r.draft(ctx, c, f)
		if err != nil {
			return err
		}
		roles, err := json.Marshal(d.roles)
		if err != nil {
			return fmt.Errorf("note the roles: %w", err)
		}
		f["roles"], f["root_version"] = string(roles), strconv.FormatInt(d.status.Roles[0].Version, 10)
		for _, line := range changesOfRoles(d) {
			r.a.notef("  - %s\n", line)
		}
		if r.f.ceremony == "" {
			return nil
		}
		return r.proposeRoot(d, f)
	})
}

// proposeRoot writes the folder, or finds that an earlier try has.
func (r *rotating) proposeRoot(d rootDraft, f rotate.Facts) error {
	c, err := ceremony.Open(r.f.ceremony)
	if errors.Is(err, fs.ErrNotExist) {
		c, err = r.a.propose(r.f.ceremony, "Other keys for the trust root of "+r.l.Dir, r.l, d.status, d.TUFDraft)
	} else if err == nil {
		err = r.isProposed(c, d)
	}
	if err == nil {
		f["ceremony"] = c.ID()
	}
	return err
}

// isProposed refuses a folder that is about another change.
func (r *rotating) isProposed(c *ceremony.Ceremony, d rootDraft) error {
	if err := fits(c, r.l, d.status); err != nil {
		return err
	}
	data, err := readGiven(filepath.Join(r.f.ceremony, "root.draft.json"), maxKeyFile)
	if err != nil {
		return err
	}
	doc, err := tufroot.ParseDocument(data)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(rolesOf(doc), d.roles) {
		return fmt.Errorf("%s holds a ceremony for something else (%s): name an empty folder", r.f.ceremony, c.Title())
	}
	return nil
}

// rootCeremony opens the folder that the rotation was begun with.
func (r *rotating) rootCeremony(f rotate.Facts) (*ceremony.Ceremony, error) {
	c, err := openCeremony(r.f.ceremony)
	if err == nil && c.ID() != f["ceremony"] {
		err = fmt.Errorf("%s holds ceremony %s, and the rotation was begun with %s", r.f.ceremony, c.ID(), f["ceremony"])
	}
	return c, err
}

// rootSigned stops while signatures are missing.
func (r *rotating) rootSigned(ctx context.Context, f rotate.Facts) error {
	if r.f.ceremony == "" {
		return r.act(ctx, func(ctx context.Context, c shardChannel) error {
			d, err := r.draft(ctx, c, f)
			if err == nil {
				_, err = r.signRoot(d)
			}
			return err
		})
	}
	c, err := r.rootCeremony(f)
	if err != nil {
		return err
	}
	if _, _, err = c.Signed(); errors.Is(err, ceremony.ErrTooFew) {
		return &signaturesNeededError{Folder: r.f.ceremony, What: "exchange keys of the trust root", Missing: err}
	}
	return err
}

func (r *rotating) publishRoot(ctx context.Context, f rotate.Facts) error {
	if r.f.ceremony == "" {
		return r.act(ctx, func(ctx context.Context, c shardChannel) error {
			d, err := r.draft(ctx, c, f)
			if err != nil {
				return err
			}
			signed, err := r.signRoot(d)
			if err != nil {
				return err
			}
			return c.Post(ctx, stack.AdminTUFPublish, signed, nil)
		})
	}
	c, err := r.rootCeremony(f)
	if err != nil {
		return err
	}
	root, targets, err := c.Signed()
	if err == nil {
		err = c.Record()
	}
	if err != nil {
		return err
	}
	return r.act(ctx, func(ctx context.Context, ch shardChannel) error {
		var st stack.TUFStatus
		if err := ch.Get(ctx, stack.AdminTUF, &st); err != nil {
			return err
		}
		if err := fits(c, r.l, st); err != nil {
			return err
		}
		signed := stack.TUFSigned{Root: root, Targets: targets, Unchecked: r.f.unchecked, Ceremony: c.ID(), Transcript: c.Head()}
		return ch.Post(ctx, stack.AdminTUFPublish, signed, nil)
	})
}

// rootPublished reports whether a root with those roles has followed.
func (r *rotating) rootPublished(ctx context.Context, f rotate.Facts) (bool, error) {
	st, _, err := r.tufRoles(ctx)
	if err != nil || len(st.Roles) == 0 || strconv.FormatInt(st.Roles[0].Version, 10) == f["root_version"] {
		return false, err
	}
	root, _, err := r.l.PublishedTUF(st)
	if err != nil {
		return false, err
	}
	doc, err := tufroot.ParseDocument(root)
	if err != nil {
		return false, err
	}
	now, err := json.Marshal(rolesOf(doc))
	if err == nil && string(now) != f["roles"] {
		err = errors.New("another root was published since the draft: what this rotation was to change is not known to be right any more; " +
			"move rotations/root.json away, and begin again")
	}
	return err == nil, err
}
