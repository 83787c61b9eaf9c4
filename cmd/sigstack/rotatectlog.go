package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sigstack/internal/config"
	"sigstack/internal/rotate"
	"sigstack/internal/stack"
)

// ctlogSteps exchange the CT log that the CA asks first: a new key is a new log, with
// a tree and a prefix of its own. The one before is frozen, and stays in trust
// material for ever.
func (r *rotating) ctlogSteps() []rotate.Step {
	c := ctRotation{r}
	return r.withEnd([]rotate.Step{
		{Name: "prepare", Does: "make the key and the tree of the next CT log", Do: c.prepare},
		{Name: "publish", Does: "publish its key", Did: c.published, Do: c.publish},
		{
			Name: "configure", Does: "let config.yaml name it, as the one that is asked first",
			From: distributed, Do: c.configure,
		},
		{Name: "switch", Does: "let the process ask it", From: distributed, Did: c.asked, Do: c.ask},
		{
			Name: "close", Does: "let the log before take no more certificates",
			From: r.closeFrom, Do: func(ctx context.Context, f rotate.Facts) error { return c.turn(ctx, f, config.CTReadOnly) },
		},
		{
			Name: "freeze", Does: "have its last tree head signed, for ever",
			Do: func(ctx context.Context, f rotate.Facts) error { return c.turn(ctx, f, config.CTFrozen) },
		},
	})
}

// ctRotation is the rotation of the CT log.
type ctRotation struct{ *rotating }

// logs are all CT logs.
func (c ctRotation) logs(ctx context.Context) ([]stack.CTLogStatus, error) {
	var list stack.CTLogList
	err := c.act(ctx, func(ctx context.Context, ch shardChannel) error { return ch.Get(ctx, stack.AdminCTLogs, &list) })
	return list.Logs, err
}

// log is this stack's log of a prefix.
func (c ctRotation) log(ctx context.Context, prefix string) (stack.CTLogStatus, error) {
	list, err := c.logs(ctx)
	if err != nil {
		return stack.CTLogStatus{}, err
	}
	i := slices.IndexFunc(list, func(l stack.CTLogStatus) bool { return l.Own && l.Prefix == prefix })
	if i < 0 {
		return stack.CTLogStatus{}, fmt.Errorf("CT log %s of this rotation is not there any more", prefix)
	}
	return list[i], nil
}

// mayFollow refuses to replace what is not one log of this stack for all certificates.
func mayFollow(list []stack.CTLogStatus) (stack.CTLogStatus, error) {
	i := slices.IndexFunc(list, func(l stack.CTLogStatus) bool { return l.Asked == 1 })
	switch {
	case i < 0:
		return stack.CTLogStatus{}, usagef("the CA asks no CT log: there is none to rotate")
	case !list[i].Own:
		return stack.CTLogStatus{}, usagef("the CA asks %s first, which is not of this stack: whoever runs it rotates its key", list[i].URL)
	case list[i].NotAfterStart != "" || list[i].NotAfterLimit != "":
		return stack.CTLogStatus{}, usagef("%s is for the certificates of a time, and another one follows when that is over: sigstack ctlog prepare --not-after-start makes it", list[i].URL)
	}
	return list[i], nil
}

// prepare makes the next log, or finds the one that was made and is not used yet.
func (c ctRotation) prepare(ctx context.Context, f rotate.Facts) error {
	list, err := c.logs(ctx)
	if err != nil {
		return err
	}
	before, err := mayFollow(list)
	if err != nil {
		return err
	}
	var draft stack.CTLogDraft
	order := stack.CTLogOrder{URI: f["key_uri"], Create: c.f.create}
	err = c.act(ctx, func(ctx context.Context, ch shardChannel) error {
		return ch.Post(ctx, stack.AdminCTLogPrepare, order, &draft)
	})
	if err != nil {
		return err
	}
	f["before"], f["prefix"], f["key"] = before.Prefix, draft.Log.Prefix, draft.Log.Key
	f["tree_id"], f["log_id"] = strconv.FormatInt(draft.Log.TreeID, 10), draft.Log.LogID
	conf, err := config.Load(c.l.Config())
	if err == nil {
		f["in_config"] = placeOf(conf, f["prefix"])
	}
	return err
}

func (c ctRotation) published(ctx context.Context, f rotate.Facts) (bool, error) {
	l, err := c.log(ctx, f["prefix"])
	if err != nil || l.State == stack.CTLogPreparing {
		return false, err
	}
	f.SetTime("distributed", l.Distributed)
	return true, nil
}

func (c ctRotation) publish(ctx context.Context, f rotate.Facts) error {
	err := c.act(ctx, func(ctx context.Context, ch shardChannel) error {
		_, err := c.a.publishCTLogs(ctx, ch, c.signer)
		return err
	})
	if err != nil {
		return err
	}
	return found(c.published(ctx, f))
}

// configure adds the log, unless an operator has done that, and names it first.
func (c ctRotation) configure(_ context.Context, f rotate.Facts) error {
	tree, err := strconv.ParseInt(f["tree_id"], 10, 64)
	if err != nil {
		return fmt.Errorf("fact tree_id: %w", err)
	}
	first := config.Field{Path: "ctlog.first", Value: f["prefix"]}
	conf, err := config.Load(c.l.Config())
	if err != nil {
		return err
	}
	if byHand := c.f.configChanged || f["in_config"] != ""; byHand && placeOf(conf, f["prefix"]) != "" {
		return c.setConfig(f, first)
	}
	return c.setConfig(f, config.Field{Path: "ctlog.shards", Item: []config.Field{
		{Path: "key", Value: f["key"]}, {Path: "tree_id", Number: tree}, {Path: "prefix", Value: f["prefix"]},
	}}, first)
}

// placeOf is where config.yaml has the CT log of a prefix; "": nowhere.
func placeOf(conf *config.Config, prefix string) string {
	if conf.CTLog == nil {
		return ""
	}
	for i, l := range conf.CTLog.Logs() {
		switch {
		case l.Prefix != prefix:
		case i == 0:
			return "ctlog"
		default:
			return "ctlog.shards." + strconv.Itoa(i-1)
		}
	}
	return ""
}

// asked reports whether the CA asks the new log first, and notes since when that is
// known.
func (c ctRotation) asked(ctx context.Context, f rotate.Facts) (bool, error) {
	l, err := c.log(ctx, f["prefix"])
	if err != nil || l.Asked != 1 {
		return false, err
	}
	if f["switched"] == "" {
		f.SetTime("switched", c.a.now())
	}
	return true, nil
}

func (c ctRotation) ask(ctx context.Context, f rotate.Facts) error {
	waiting, err := c.reloadNow(ctx)
	if err != nil {
		return err
	}
	is, err := c.asked(ctx, f)
	if err == nil && !is {
		err = fmt.Errorf("the process does not ask the new log first: %s", waiting)
	}
	return err
}

// reloadNow lets a process that serves read config.yaml, and says what that waits for.
func (r *rotating) reloadNow(ctx context.Context) (waiting string, err error) {
	var took stack.Reloaded
	err = r.act(ctx, func(ctx context.Context, ch shardChannel) error { return ch.Post(ctx, stack.AdminReload, nil, &took) })
	return strings.Join(took.Waiting, "; "), err
}

// turn gives the log of before a state, unless config.yaml went back to it.
func (c ctRotation) turn(ctx context.Context, f rotate.Facts, state string) error {
	next, err := c.log(ctx, f["prefix"])
	if err != nil {
		return err
	}
	if next.Asked != 1 {
		return fmt.Errorf("the CA does not ask %s first any more: config.yaml went back, and %s stays as it is", f["prefix"], f["before"])
	}
	conf, err := config.Load(c.l.Config())
	if err != nil {
		return err
	}
	place := placeOf(conf, f["before"])
	if place == "" {
		return fmt.Errorf("config.yaml has no CT log %s any more", f["before"])
	}
	if err := c.setConfig(f, config.Field{Path: place + ".state", Value: state}); err != nil {
		return err
	}
	waiting, err := c.reloadNow(ctx)
	if err != nil {
		return err
	}
	l, err := c.log(ctx, f["before"])
	if err == nil && l.State != state {
		err = fmt.Errorf("CT log %s is %s, and is to be %s: %s", f["before"], l.State, state, waiting)
	}
	return err
}
