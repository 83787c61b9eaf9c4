package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/pki"
	"sigstack/internal/rotate"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

// chainSteps exchange chain and key of an authority.
func (r *rotating) chainSteps(of stack.Authority) []rotate.Step {
	c := chainRotation{r, of}
	steps := []rotate.Step{
		{
			Name: "publish", Does: "make the next key, have the root certify it, and publish the chain",
			Did: c.published, Do: c.publish,
		},
		{
			Name: "configure", Does: "let config.yaml name the new chain and key",
			From: distributed, Did: c.configured, Do: c.configure,
		},
		{
			Name: "switch", Does: "let the process go over to them",
			From: distributed, Did: c.active, Do: c.reload,
		},
	}
	if r.end != nil { // which is an end, too
		return r.withEnd(steps)
	}
	return append(steps, rotate.Step{
		Name: "close", Does: "publish the end of what clients accept of the chain before",
		From: c.closeFrom, Did: c.closed, Do: c.close,
	})
}

// chainRotation is the rotation of one authority.
type chainRotation struct {
	*rotating

	of stack.Authority
}

// commands are those that do the same step by step.
func (c chainRotation) commands() chainCommands {
	if c.of == stack.TSA {
		return chainCommands{app: c.a, of: c.of, issue: stack.IssueTSAChain}
	}
	return chainCommands{app: c.a, of: c.of, issue: stack.IssueChain}
}

func (c chainRotation) list(ctx context.Context) (list []stack.ChainStatus, err error) {
	var all stack.ChainList
	err = c.act(ctx, func(ctx context.Context, ch shardChannel) error { return ch.Get(ctx, c.of.Paths().List, &all) })
	return all.Chains, err
}

// published finds the chain that is published and has not signed yet, and notes which
// one it is to follow.
func (c chainRotation) published(ctx context.Context, f rotate.Facts) (bool, error) {
	list, err := c.list(ctx)
	if err != nil {
		return false, err
	}
	for _, x := range list {
		if x.State == stack.ChainActive && f["before"] == "" {
			f["before"] = x.SHA256
		}
	}
	for _, x := range slices.Backward(list) {
		known := f["chain"] == x.SHA256 && x.State != stack.ChainPreparing
		if known || x.State == stack.ChainPrepared && x.End.IsZero() {
			f["chain"], f["key"], f["path"] = x.SHA256, x.Key, x.Path
			f.SetTime("distributed", x.Distributed)
			return true, nil
		}
	}
	return false, nil
}

func (c chainRotation) publish(ctx context.Context, f rotate.Facts) error {
	err := c.act(ctx, func(ctx context.Context, ch shardChannel) error {
		chain, name, err := c.commands().next(ctx, ch, chainFlags{
			prepareFlags: prepareFlags{targetsFlags: c.f.targetsFlags},
			order:        stack.ChainKeyOrder{URI: f["key_uri"], Create: c.f.create},
		}, c.root)
		if err != nil {
			return err
		}
		var draft stack.ChainDraft
		order := stack.ChainOrder{Certificates: pki.CertificatesPEM(chain), Key: name}
		if err := ch.Post(ctx, c.of.Paths().Prepare, order, &draft); err != nil {
			return err
		}
		return c.sign(ctx, ch, targetsDraft{
			What:    "publish the chain of " + chain[0].Subject.String(),
			Targets: draft.Targets,
			Approve: func(change tufroot.Change) error { return c.of.ApproveChain(change, chain, c.a.now()) },
		})
	})
	if err != nil {
		return err
	}
	return found(c.published(ctx, f))
}

// sign has a draft signed and published.
func (c chainRotation) sign(ctx context.Context, ch shardChannel, d targetsDraft) error {
	signed, err := c.signer.sign(ctx, ch, d)
	if err != nil {
		return err
	}
	return ch.Post(ctx, c.of.Paths().Publish, c.signer.publication(signed), nil)
}

// fields are what config.yaml is to say.
func (c chainRotation) fields(f rotate.Facts) []config.Field {
	section := c.of.String()
	return []config.Field{{Path: section + ".key", Value: f["key"]}, {Path: section + ".chain", Value: f["path"]}}
}

func (c chainRotation) configured(_ context.Context, f rotate.Facts) (bool, error) {
	conf, err := config.Load(c.l.Config())
	if err != nil {
		return false, err
	}
	switch {
	case c.of == stack.CA && conf.CA != nil:
		return c.noteConfig(f, conf.CA.Key == f["key"] && conf.CA.Chain == f["path"])
	case c.of == stack.TSA && conf.TSA != nil:
		return c.noteConfig(f, conf.TSA.Key == f["key"] && conf.TSA.Chain == f["path"])
	}
	return false, fmt.Errorf("section %s of config.yaml is missing", c.of)
}

func (c chainRotation) configure(_ context.Context, f rotate.Facts) error {
	return c.setConfig(f, c.fields(f)...)
}

// setConfig sets fields of config.yaml, unless that was changed by hand since the
// rotation began.
func (r *rotating) setConfig(f rotate.Facts, fields ...config.Field) error {
	was, err := r.configNow(f)
	if err != nil {
		return err
	}
	err = config.SetFields(r.l.Config(), was, fields...)
	if errors.Is(err, config.ErrChanged) {
		err = fmt.Errorf("%w the rotation began: look at it, and say --config-changed if that is in order", err)
	}
	if err != nil {
		return err
	}
	now, err := config.Digest(r.l.Config())
	noteChange(f, was, now)
	return err
}

// noteConfig notes config.yaml as it is, when that is as a step is to make it: a
// process that was interrupted has done that, or an operator.
func (r *rotating) noteConfig(f rotate.Facts, is bool) (bool, error) {
	if !is {
		return false, nil
	}
	now, err := config.Digest(r.l.Config())
	if err == nil && now != f["config"] {
		noteChange(f, f["config"], now)
	}
	return err == nil, err
}

// noteChange notes what a change of config.yaml made of what, by digests. A rotation
// may have several.
func noteChange(f rotate.Facts, before, after string) {
	f["config_before"], f["config"] = before, after
	f["config_changes"] = strings.TrimSpace(f["config_changes"] + " " + before + ">" + after)
}

// changesOf are the changes that a rotation has made, what was by what is.
func changesOf(f rotate.Facts) map[string]string {
	out := map[string]string{}
	for change := range strings.FieldsSeq(f["config_changes"] + " " + f["config_before"] + ">" + f["config"]) {
		before, after, _ := strings.Cut(change, ">")
		out[before] = after
	}
	return out
}

// configNow is what config.yaml has to be for this rotation to change it: as it was
// when that began, but for what other rotations have set since; "" for anything.
func (r *rotating) configNow(f rotate.Facts) (string, error) {
	if r.f.configChanged {
		return "", nil
	}
	all, err := rotate.List(r.dir())
	if err != nil {
		return "", err
	}
	changes := map[string]string{}
	for _, j := range all {
		if j.What != r.what {
			maps.Copy(changes, changesOf(j.Facts))
		}
	}
	was := f["config"]
	for range changes { // each may follow upon another
		if next, ok := changes[was]; ok && was != "" {
			was = next
		}
	}
	return was, nil
}

// active reports whether the new chain signs, or has, and notes when that began.
func (c chainRotation) active(ctx context.Context, f rotate.Facts) (bool, error) {
	list, err := c.list(ctx)
	if err != nil {
		return false, err
	}
	for _, x := range list {
		if x.SHA256 == f["chain"] {
			f.SetTime("switched", x.Since)
			return !x.Since.IsZero(), nil
		}
	}
	return false, fmt.Errorf("the chain %s of this rotation is not there any more", f["chain"])
}

// reload lets a process that serves read config.yaml. It may have done that by itself
// already.
func (c chainRotation) reload(ctx context.Context, f rotate.Facts) error {
	waiting, err := c.reloadNow(ctx)
	if err != nil {
		return err
	}
	is, err := c.active(ctx, f)
	if err == nil && !is {
		err = fmt.Errorf("the process has not gone over to the chain yet: %s", waiting)
	}
	return err
}

// closeFrom is when what was before is closed: not as long as one may want to go back
// to it, which is no wish where others have the key.
func (r *rotating) closeFrom(f rotate.Facts) (time.Time, error) {
	at, err := f.Time("switched")
	if err != nil || at.IsZero() || r.end != nil {
		return time.Time{}, err
	}
	if r.closeGiven {
		return at.Add(r.f.closeAfter), nil
	}
	after, err := time.ParseDuration(f["close_after"])
	return at.Add(after), err
}

// closed reports whether the chain of before has its end.
func (c chainRotation) closed(ctx context.Context, f rotate.Facts) (bool, error) {
	list, err := c.list(ctx)
	if err != nil {
		return false, err
	}
	signs := slices.ContainsFunc(list, func(x stack.ChainStatus) bool { return x.SHA256 == f["chain"] && x.State == stack.ChainActive })
	for _, x := range list {
		switch {
		case x.SHA256 != f["before"]:
		case !x.End.IsZero():
			return true, nil
		case !signs:
			return false, errors.New("the new chain does not sign any more: config.yaml went back, and the chain of before is not closed")
		}
	}
	return false, nil
}

func (c chainRotation) close(ctx context.Context, _ rotate.Facts) error {
	return c.act(ctx, func(ctx context.Context, ch shardChannel) error {
		var draft stack.ChainDraft
		if err := ch.Post(ctx, c.of.Paths().Close, nil, &draft); err != nil {
			return err
		}
		return c.sign(ctx, ch, targetsDraft{
			What:    "end what clients accept of retired chains",
			Targets: draft.Targets,
			Approve: func(change tufroot.Change) error {
				ends, err := c.of.ChainEnds(change, c.a.now())
				if err != nil {
					return err
				}
				return c.a.approveEnds(ends, true)
			},
		})
	})
}
