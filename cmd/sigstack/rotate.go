package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/rotate"
	"sigstack/internal/stack"
)

// rotation is one of those that the command knows.
type rotation struct {
	what, short string
	closes      bool // what was before
	steps       func(r *rotating) []rotate.Step
}

// rotations are all, in the order of the help.
func rotations() []rotation {
	return []rotation{
		{"ca", "the chain and key of the certificate authority", true, func(r *rotating) []rotate.Step { return r.chainSteps(stack.CA) }},
		{"ctlog", "the key of the CT log, with a new log", true, (*rotating).ctlogSteps},
		{"log", "the key of the transparency log, with a new shard", false, (*rotating).logSteps},
		{"tsa", "the chain and key of the timestamp authority", true, func(r *rotating) []rotate.Step { return r.chainSteps(stack.TSA) }},
		{"tuf-online", "the keys of TUF's snapshot and timestamp", true, (*rotating).onlineSteps},
	}
}

func findRotation(what string) (rotation, error) {
	var names []string
	for _, known := range rotations() {
		if known.what == what {
			return known, nil
		}
		names = append(names, known.what)
	}
	return rotation{}, usagef("rotate %q: want one of %s", what, strings.Join(append(names, rootRotation), ", "))
}

// rotateFlags are those of a rotation.
type rotateFlags struct {
	shardFlags
	targetsFlags

	plan, noWait, configChanged bool
	keyURI                      string
	create                      bool
	closeAfter                  time.Duration
	compromisedAt               string
	stopIssuing                 bool
	sample                      sampleFlags
}

func (a *app) rotateCommand() *cobra.Command {
	var f rotateFlags
	var about strings.Builder
	for _, known := range rotations() {
		fmt.Fprintf(&about, "  %-10s  %s\n", known.what, known.short)
	}
	fmt.Fprintf(&about, "  %-10s  %s\n", rootRotation, "the keys of TUF's root and targets; a command of its own")
	cmd := &cobra.Command{
		Use:   "rotate WHAT",
		Short: "Exchange a key of the stack, while it serves",
		Long: `Exchange a key of the stack while it serves, so that nothing which was signed before
stops verifying and no request to sign fails. WHAT is one of

` + about.String() + `
A rotation is publish, wait, switch, close: every client knows the next key before it
is used. The wait is the longest life of a TUF timestamp so far: a day unless said
otherwise. With --plan the steps and their times are printed, and nothing changes.

Each step is noted before and after it, in DIR/rotations/WHAT.json: the same command
goes on with a rotation that was interrupted anywhere. It waits with a countdown,
which Ctrl-C leaves without harm. With --no-wait it ends at a wait instead.

Where TUF's targets must be signed their key is needed: --offline names its
directory; with --ceremony the rotation stops until the signers have signed in that
folder, and the same command goes on with what they signed. config.yaml is changed
in the lines that name the key and chain, and nowhere else, unless it was changed by
hand since the rotation began; then --config-changed says that this is in order. The
file of before is kept as config.yaml.old.

Of ca, ctlog, log and tsa --compromised-at says that others may have had the key since
then: when the next one signs, the trust in the old one ends at that moment, and every
certificate and entry that this refuses is listed in a file beside the journal.
--stop-issuing ends the trust at once, before the next key signs: until then the
service stops. docs/operations/compromise.md says when that is better.

Exit codes: 0 finished, 1 refused, 4 the rotation waits, for its time or for
signatures, and the same command goes on with it; 130 interrupted.`,
		Example: `  sigstack rotate ca --dir /var/lib/sigstack --plan
  sigstack rotate ca --dir /var/lib/sigstack --offline /media/offline
  sigstack rotate log --dir /var/lib/sigstack --offline /media/offline --no-wait
  sigstack rotate log --compromised-at 2026-11-20T08:00:00Z --offline /media/offline
  sigstack rotate status --dir /var/lib/sigstack`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			known, err := findRotation(args[0])
			if err != nil {
				return err
			}
			return a.rotate(cmd.Context(), known, f, cmd.Flags().Changed("close-after"))
		},
	}
	f.shardFlags.add(cmd.Flags())
	f.targetsFlags.add(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.plan, "plan", false, "print the steps with their times, and change nothing")
	fl.BoolVar(&f.noWait, "no-wait", false, "end at a wait, with exit code 4 and the time to come back")
	fl.BoolVar(&f.configChanged, "config-changed", false, "config.yaml was changed by hand since the rotation began, and that is in order")
	fl.StringVar(&f.keyURI, "key-uri", "", "`URI` where the new key lives (default: a file in DIR/keys)")
	fl.BoolVar(&f.create, "create-key", false, "make a key at --key-uri if there is none")
	fl.DurationVar(&f.closeAfter, "close-after", stack.CloseAfter, "how long after the switch the chain or CT log of before is closed; until then config.yaml can go back to it. Of tuf-online: when its old keys are trusted no more (default: when copies of the repository have been renewed)")
	fl.StringVar(&f.compromisedAt, "compromised-at", "", "`time` since which others may have had the key, such as 2026-11-20T08:00:00Z: the trust in it ends then")
	fl.BoolVar(&f.stopIssuing, "stop-issuing", false, "with --compromised-at: end the trust at once, and not when the next key signs")
	f.sample.add(fl)
	cmd.AddCommand(a.rotateRootCommand(), a.rotateStatusCommand())
	return cmd
}

// rotating is one run of the command.
type rotating struct {
	a    *app
	what string
	f    rotateFlags
	l    stack.Layout

	closeGiven bool         // the flag, which goes before what the rotation was begun with
	end        *compromised // nil: nobody else has had the key
	change     rootChange   // of a rotation of the root

	rot      rotate.Rotation
	tolerant bool // samples may be refused, since the trust in a key ended
	served   bool // a replica has taken a note

	signer *targetsSigner
	root   offlineKeys
}

func (a *app) rotate(ctx context.Context, known rotation, f rotateFlags, closeAfter bool) error {
	if err := (chainFlags{order: stack.ChainKeyOrder{URI: f.keyURI, Create: f.create}}).check(); err != nil {
		return err
	}
	switch {
	case f.closeAfter < 0:
		return usagef("--close-after %v: it cannot be before the switch", f.closeAfter)
	case known.what == "tuf-online" && (f.ceremony != "" || f.keyURI != ""):
		return usagef("tuf-online takes neither --ceremony nor --key-uri: the root keys are given with --offline, once for each, and the new keys are files")
	case closeAfter && !known.closes:
		return usagef("--close-after is for what closes something: a rotation of %s does not", known.what)
	}
	r := &rotating{a: a, what: known.what, f: f, closeGiven: closeAfter, l: stack.Layout{Dir: f.dir}}
	conf, err := loadConfig(r.l)
	if err != nil {
		return err
	}
	j, err := rotate.Read(r.dir(), known.what)
	if err != nil {
		return err
	}
	if r.end, err = r.readCompromised(known, j); err != nil {
		return err
	}
	r.rot = rotate.Rotation{What: known.what, Steps: known.steps(r)}
	facts, err := r.facts(j)
	if err != nil {
		return err
	}
	if f.plan {
		return r.printPlan(r.rot, j, r.expected(conf, facts))
	}
	if r.signer, err = a.targetsSigner(ctx, f.shardFlags, f.targetsFlags); err != nil {
		return err // before anything is made
	}
	if r.root, err = a.offlineKeys(ctx, f.shardFlags, f.targetsFlags); err != nil {
		return err
	}
	privateFiles()
	if r.end != nil && j == nil {
		if err := r.end.begin(ctx, r); err != nil {
			return err
		}
		r.end.facts(facts)
	}
	r.signer.judge = r.judgeDraft
	return r.run(ctx, j, facts)
}

// dir holds the journals.
func (r *rotating) dir() string { return filepath.Join(r.l.Dir, "rotations") }

// facts are what a rotation begins with: its options, and what config.yaml is. One
// that is under way keeps those that it has.
func (r *rotating) facts(j *rotate.Journal) (rotate.Facts, error) {
	digest, err := config.Digest(r.l.Config())
	if err != nil {
		return nil, err
	}
	facts := rotate.Facts{"config": digest, "close_after": r.f.closeAfter.String()}
	if r.f.keyURI != "" {
		facts["key_uri"] = r.f.keyURI
	}
	if j == nil {
		return facts, nil
	}
	if was := j.Facts["key_uri"]; r.f.keyURI != "" && was != r.f.keyURI {
		return nil, usagef("--key-uri %s: the rotation was begun with %q, and goes on with that", r.f.keyURI, was)
	}
	return j.Facts, nil
}

// expected are the facts of steps to come, as a plan reckons with them.
func (r *rotating) expected(conf *config.Config, facts rotate.Facts) rotate.Facts {
	window := conf.TUF.Lives().Timestamp
	if conf.Profile == config.ProfileUp {
		window = stack.TestDistribution
	}
	out := rotate.Facts{}
	out.SetTime("distributed", r.a.now().Add(window))
	for name, value := range facts {
		out[name] = value
	}
	if at, err := out.Time("distributed"); err == nil && out["switched"] == "" {
		out.SetTime("switched", at)
		if r.a.now().After(at) {
			out.SetTime("switched", r.a.now())
		}
	}
	return out
}

// run runs it, and tells how far it came.
func (r *rotating) run(ctx context.Context, j *rotate.Journal, facts rotate.Facts) error {
	if j != nil {
		r.a.notef("going on with the rotation of %s that began %s\n", r.what, stamp(j.Started))
	}
	runner := rotate.Runner{Dir: r.dir(), Now: r.a.now, Wait: r.wait, Before: r.before, Note: r.note, Kept: r.kept}
	j, err := runner.Run(ctx, r.rot, facts)
	if err == nil {
		err = r.checkSample(ctx, nil)
	}
	if j != nil && (err == nil || ctx.Err() == nil) {
		r.a.result(j, func() { r.printFinished(j, err) })
	}
	var needed *signaturesNeededError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &needed):
		return &waitingError{err}
	case errors.Is(err, durable.ErrLocked):
		return fmt.Errorf("%w; see sigstack rotate status --dir %s", err, r.l.Dir)
	case ctx.Err() != nil:
		r.a.notef("interrupted: nothing is lost. Go on with: sigstack rotate %s --dir %s\n", r.what, r.l.Dir)
	}
	return err
}

func (r *rotating) printFinished(j *rotate.Journal, err error) {
	if err == nil {
		r.a.printf("rotation of %s finished %s\n", r.what, stamp(j.Finished))
		if j.Facts["list"] != "" {
			r.a.printf("%s\nlisted in %s\n", j.Facts["list_summary"], j.Facts["list"])
		}
	}
}

// act asks the process that serves, or this one in its place.
func (r *rotating) act(ctx context.Context, do func(context.Context, shardChannel) error) error {
	return r.a.withShards(ctx, r.f.shardFlags, do)
}

// kept gives the other replicas the journal: whichever leads next goes on with it. A
// replica that does not run gives it to them when it starts; one that has stopped since
// the command began may not lead any more.
func (r *rotating) kept(ctx context.Context) error {
	replica, err := config.LoadReplica(r.l.Dir)
	if replica == nil || err != nil {
		return err
	}
	err = admin.Dial(r.l.Dir).Post(ctx, stack.AdminNoted, nil, nil)
	switch {
	case err == nil:
		r.served = true
	case !errors.Is(err, admin.ErrNotRunning) || r.served:
		return fmt.Errorf("the journal in %s was not taken by the other replicas: %w; run the same command where a replica leads", r.dir(), err)
	}
	return nil
}

// note tells of a step.
func (r *rotating) note(s rotate.Step, done bool) {
	word := "begin"
	if done {
		word = "done "
	}
	r.a.notef("%s  %s  %s: %s\n", stamp(r.a.now()), word, s.Name, s.Does)
}

func (r *rotating) printPlan(rot rotate.Rotation, j *rotate.Journal, expected rotate.Facts) error {
	plan, err := rot.Plan(j, expected)
	if err != nil {
		return err
	}
	answer := struct {
		What     string           `json:"what"`
		UnderWay bool             `json:"under_way"`
		Steps    []rotate.Planned `json:"steps"`
	}{r.what, j != nil, plan}
	r.a.result(answer, func() {
		for _, p := range plan {
			r.a.printf("%-22s  %-10s  %s\n", when(p, r.a.now()), p.Name, p.Does)
		}
		if j == nil {
			r.a.printf("\nnothing was changed; to start: sigstack rotate %s --dir %s\n", r.what, r.l.Dir)
		}
	})
	return nil
}

// when tells the time of a step.
func when(p rotate.Planned, now time.Time) string {
	switch {
	case !p.Done.IsZero():
		return "done"
	case p.From.After(now):
		return stamp(p.From)
	default:
		return "now"
	}
}

func (a *app) rotateStatusCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "List the rotations that are under way, and those that are finished",
		Long:    "List the rotations of a directory: those under way with the step that is next and\nthe time that it waits for, then the finished ones, the latest first.",
		Example: "  sigstack rotate status --dir /var/lib/sigstack\n  sigstack rotate status --output json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l := stack.Layout{Dir: dir}
			if err := wantStack(l); err != nil {
				return err
			}
			all, err := rotate.List(filepath.Join(l.Dir, "rotations"))
			if err != nil {
				return err
			}
			answer := struct {
				Rotations []*rotate.Journal `json:"rotations"`
			}{append([]*rotate.Journal{}, all...)}
			a.result(answer, func() { a.printRotations(dir, all) })
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultDir, "data `directory` of the stack, served or not")
	return cmd
}

func (a *app) printRotations(dir string, all []*rotate.Journal) {
	if len(all) == 0 {
		a.printf("nothing was rotated yet\n")
	}
	for _, j := range all {
		if !j.Finished.IsZero() {
			a.printf("%-10s  finished  %s\n", j.What, stamp(j.Finished))
			continue
		}
		a.printf("%-10s  under way since %s\n", j.What, stamp(j.Started))
		next := j.Next()
		for _, s := range slices.Concat(j.Steps[:next], j.Steps[next:]) {
			a.printRotationStep(s, a.now())
		}
		a.printf("            go on with: sigstack rotate %s --dir %s\n", j.What, dir)
	}
}

func (a *app) printRotationStep(s rotate.Record, now time.Time) {
	switch {
	case !s.Done.IsZero():
		a.printf("            %-10s  done %s\n", s.Name, stamp(s.Done))
	case s.Failure != "":
		a.printf("            %-10s  stopped: %s\n", s.Name, strings.ReplaceAll(s.Failure, "\n", " "))
	case s.From.After(now):
		a.printf("            %-10s  not before %s\n", s.Name, stamp(s.From))
	default:
		a.printf("            %-10s  to be done\n", s.Name)
	}
}
