package stack

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"sigstack/internal/audit"
	"sigstack/internal/fault"
	"sigstack/internal/trust"
)

// Whatever publishes targets does so by publishTargets: nothing that clients see
// changes before the files were held against the services that they are about
// (docs/decisions/0020-publications-are-proved-first.md).

// Publication is TUF metadata of targets, signed, that is to be published.
type Publication struct {
	Targets []byte `json:"targets"`
	// Unchecked names checks of live services that may fail, as a refusal tells them.
	Unchecked []string `json:"unchecked,omitempty"`
}

// proveTimeout bounds the checks before a publication, and askTimeout a request
// among them: who publishes waits for less than a minute.
const (
	proveTimeout = 30 * time.Second
	askTimeout   = 10 * time.Second
)

// publishTargets publishes what m holds, by signed targets, if it passes every
// check. On an error clients see what they saw; it is of kind Conflict when checks
// failed, and else as of Repository.PublishSigned.
func (s *Stack) publishTargets(ctx context.Context, m trust.Material, p Publication) error {
	targets, err := m.Targets(s.opts.Now())
	if err != nil {
		return err
	}
	return s.publishFiles(ctx, targets, p)
}

// publishFiles is publishTargets for who has the files. What nobody signed, or is
// overtaken, is refused first: it leaves no trace.
func (s *Stack) publishFiles(ctx context.Context, targets []trust.Target, p Publication) error {
	if err := s.repo.CheckSigned(p.Targets, targets); err != nil {
		return err
	}
	if err := s.prove(ctx, targets, p); err != nil {
		return err
	}
	return s.repo.PublishSigned(p.Targets, targets, s.online)
}

// prove holds targets against the live services, and puts on record which checks
// were waived. For the first targets of a stack it is called alone.
func (s *Stack) prove(ctx context.Context, targets []trust.Target, p Publication) error {
	ctx, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	failed, waived := split(s.flaws(ctx, targets, p, true), p.Unchecked)
	if len(failed) > 0 {
		return refused(failed)
	}
	if len(waived) == 0 {
		return nil
	}
	s.opts.Log.WarnContext(ctx, "published although checks failed", slog.Any("unchecked", trust.Refusal(waived)))
	detail := map[string]string{}
	for _, f := range waived {
		detail[f.Check] = f.What
	}
	return s.record(ctx, audit.Event{Action: "publish.unchecked", Outcome: audit.OK, Service: "tuf", Detail: detail})
}

// flaws are all that is wrong with targets. Without sign nothing is signed with them.
func (s *Stack) flaws(ctx context.Context, targets []trust.Target, p Publication, sign bool) []trust.Flaw {
	published, err := s.publishedTargets()
	if err != nil {
		return []trust.Flaw{{Check: trust.CheckFile, What: err.Error(), Next: "mend the directory tuf/: run sigstack doctor, or restore it from a backup"}}
	}
	found := trust.CheckFiles(published, targets, s.opts.Now())
	if slices.ContainsFunc(found, func(f trust.Flaw) bool { return f.Check == trust.CheckFile }) {
		return found // what cannot be read, or is no material, is held against nothing
	}
	live, err := s.newLiveCheck(ctx, published, targets, p)
	if err != nil {
		return append(found, trust.Flaw{Check: trust.CheckFile, What: err.Error()})
	}
	defer live.close()
	live.run(ctx)
	if failed, _ := split(slices.Concat(found, live.flaws), p.Unchecked); sign && len(failed) == 0 { // what fails already leaves no trace
		s.signs(ctx, live, p.Targets)
	}
	return append(found, live.flaws...)
}

// split divides flaws into those that refuse and those that somebody waived by
// name. What files show by themselves cannot be waived.
func split(flaws []trust.Flaw, unchecked []string) (failed, waived []trust.Flaw) {
	for _, f := range flaws {
		if mayWaive(f) && slices.Contains(unchecked, f.Check) {
			waived = append(waived, f)
		} else {
			failed = append(failed, f)
		}
	}
	return failed, waived
}

func mayWaive(f trust.Flaw) bool { return f.Check != trust.CheckFile && f.Check != trust.CheckTaken }

// refused words a refusal. It says what was found, and what to do, to people who
// may read the log anyway.
func refused(flaws []trust.Flaw) error {
	for i, f := range flaws {
		if mayWaive(f) {
			flaws[i].Next = strings.TrimSuffix(f.Next, ".") + "; who knows why it fails repeats the command with --unchecked " + f.Check
		}
	}
	return fault.New(fault.Conflict, "nothing was published: "+trust.Refusal(flaws).Error())
}
