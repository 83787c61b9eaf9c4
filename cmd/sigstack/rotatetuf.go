package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/rotate"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

// onlineSteps exchange the keys of TUF's snapshot and timestamp. The root trusts both
// the old and the new ones in between, so that a start finds a key that it trusts
// wherever the rotation was interrupted.
func (r *rotating) onlineSteps() []rotate.Step {
	return []rotate.Step{
		{Name: "keys", Does: "make the next keys of snapshot and timestamp", Do: r.onlineKeys},
		{Name: "publish", Does: "publish a root that trusts them, too", Did: r.onlineTrusted, Do: r.trustOnline},
		{Name: "configure", Does: "let config.yaml name them", Did: r.onlineConfigured, Do: r.configureOnline},
		{Name: "switch", Does: "let the process sign with them", Do: r.useOnline},
		{Name: "close", Does: "publish a root that trusts the old ones no more", From: r.onlineCloseFrom, Did: r.onlineAlone, Do: r.closeOnline},
	}
}

// onlineCloseFrom is when copies of the repository have been renewed, too, or what the
// operator says instead.
func (r *rotating) onlineCloseFrom(f rotate.Facts) (time.Time, error) {
	if !r.closeGiven {
		return distributed(f)
	}
	at, err := f.Time("switched")
	if err != nil || at.IsZero() {
		return at, err
	}
	return at.Add(r.f.closeAfter), nil
}

func (r *rotating) onlineKeys(ctx context.Context, f rotate.Facts) error {
	var next stack.TUFOnline
	err := r.act(ctx, func(ctx context.Context, c shardChannel) error { return c.Post(ctx, stack.AdminTUFOnline, nil, &next) })
	if err != nil {
		return err
	}
	f["snapshot_key"], f["snapshot_pem"] = next.Snapshot, next.SnapshotPEM
	f["timestamp_key"], f["timestamp_pem"] = next.Timestamp, next.TimestampPEM
	return nil
}

// tufRoles are the roles of the trust root, by name.
func (r *rotating) tufRoles(ctx context.Context) (st stack.TUFStatus, roles map[string]stack.TUFRole, err error) {
	err = r.act(ctx, func(ctx context.Context, c shardChannel) error { return c.Get(ctx, stack.AdminTUF, &st) })
	roles = map[string]stack.TUFRole{}
	for _, role := range st.Roles {
		roles[role.Role] = role
	}
	return st, roles, err
}

// onlineRoles are the roles of which the keys are exchanged.
func onlineRoles() []string { return []string{"snapshot", "timestamp"} }

// hasKey reports whether a role has the key of this rotation, and the IDs of others.
func hasKey(role stack.TUFRole, f rotate.Facts) (is bool, others []string) {
	for _, k := range role.Keys {
		if strings.TrimSpace(k.PublicKey) == strings.TrimSpace(f[role.Role+"_pem"]) {
			is = true
		} else {
			others = append(others, k.ID)
		}
	}
	return is, others
}

func (r *rotating) onlineTrusted(ctx context.Context, f rotate.Facts) (bool, error) {
	_, roles, err := r.tufRoles(ctx)
	all := true
	for _, name := range onlineRoles() {
		is, _ := hasKey(roles[name], f)
		all = all && is
	}
	return all && err == nil, err
}

func (r *rotating) trustOnline(ctx context.Context, f rotate.Facts) error {
	_, roles, err := r.tufRoles(ctx)
	if err != nil {
		return err
	}
	add := func(name string) stack.TUFRoleOrder {
		if is, _ := hasKey(roles[name], f); is {
			return stack.TUFRoleOrder{}
		}
		return stack.TUFRoleOrder{Add: []string{f[name+"_pem"]}, Threshold: 1}
	}
	return r.changeRoot(ctx, stack.TUFOrder{Snapshot: add("snapshot"), Timestamp: add("timestamp")})
}

// changeRoot drafts a root with other online keys, signs it with the root keys at hand,
// and has it published.
func (r *rotating) changeRoot(ctx context.Context, order stack.TUFOrder) error {
	if r.f.ceremony != "" {
		return usagef("--ceremony is for TUF's targets: give the root keys with --offline, once for each")
	}
	signers, err := r.rootKeys(ctx)
	if err != nil {
		return err
	}
	return r.act(ctx, func(ctx context.Context, c shardChannel) error {
		var st stack.TUFStatus
		if err := c.Get(ctx, stack.AdminTUF, &st); err != nil {
			return err
		}
		current, _, err := r.l.PublishedTUF(st)
		if err != nil {
			return err
		}
		var draft stack.TUFDraft
		if err := c.Post(ctx, stack.AdminTUFDraft, order, &draft); err != nil {
			return err
		}
		snapshot, timestamp, err := stack.ApproveOnlineKeys(current, draft.Root, r.a.now())
		if err != nil {
			return err
		}
		signed := draft.Root
		for _, key := range signers {
			if signed, err = tufroot.SignRole(signed, key); err != nil {
				return err
			}
		}
		r.a.notef("signed a root with %d snapshot and %d timestamp keys, and changed nothing else\n", snapshot, timestamp)
		return c.Post(ctx, stack.AdminTUFPublish, stack.TUFSigned{Root: signed}, nil)
	})
}

// rootKeys are those at hand, one from each directory of root keys.
func (r *rotating) rootKeys(ctx context.Context) (out []keys.Key, err error) {
	for i := range max(1, len(r.f.offline)) {
		one := r.f.targetsFlags
		one.offline, one.passphraseFiles = pick(r.f.offline, i), pick(r.f.passphraseFiles, i)
		o, err := r.a.offlineKeys(ctx, r.f.shardFlags, one)
		if err != nil {
			return nil, err
		}
		key, err := stack.RootKey(o.dir, o.passphrase, o.devices)
		if err != nil {
			return nil, explainOffline(err)
		}
		out = append(out, key)
	}
	return out, nil
}

// pick is a list of the one at i, or of none.
func pick(list []string, i int) []string {
	if i >= len(list) {
		return nil
	}
	return list[i : i+1]
}

func (r *rotating) onlineConfigured(_ context.Context, f rotate.Facts) (bool, error) {
	conf, err := config.Load(r.l.Config())
	if err != nil {
		return false, err
	}
	return r.noteConfig(f, conf.TUF != nil && conf.TUF.SnapshotKey == f["snapshot_key"] && conf.TUF.TimestampKey == f["timestamp_key"])
}

func (r *rotating) configureOnline(_ context.Context, f rotate.Facts) error {
	return r.setConfig(f,
		config.Field{Path: "tuf.snapshot_key", Value: f["snapshot_key"]},
		config.Field{Path: "tuf.timestamp_key", Value: f["timestamp_key"]})
}

// useOnline signs with the new keys, which copies of the repository have a timestamp's
// life later.
func (r *rotating) useOnline(ctx context.Context, f rotate.Facts) error {
	err := r.act(ctx, func(ctx context.Context, c shardChannel) error { return c.Post(ctx, stack.AdminTUFOnlineUse, nil, nil) })
	if err != nil {
		return err
	}
	_, roles, err := r.tufRoles(ctx)
	if err != nil {
		return err
	}
	conf, err := config.Load(r.l.Config())
	if err != nil {
		return err
	}
	window := time.Duration(roles["timestamp"].Life) * time.Second
	if conf.Profile == config.ProfileUp {
		window = stack.TestDistribution
	}
	f.SetTime("distributed", r.a.now().Add(window))
	f["switched"] = r.a.now().UTC().Format(time.RFC3339)
	return nil
}

func (r *rotating) onlineAlone(ctx context.Context, f rotate.Facts) (bool, error) {
	_, roles, err := r.tufRoles(ctx)
	if err != nil {
		return false, err
	}
	for _, name := range onlineRoles() {
		is, others := hasKey(roles[name], f)
		if !is {
			return false, fmt.Errorf("the root does not trust the %s key of this rotation any more", name)
		}
		if len(others) > 0 {
			return false, nil
		}
	}
	return true, nil
}

func (r *rotating) closeOnline(ctx context.Context, f rotate.Facts) error {
	_, roles, err := r.tufRoles(ctx)
	if err != nil {
		return err
	}
	remove := func(name string) stack.TUFRoleOrder {
		_, others := hasKey(roles[name], f)
		return stack.TUFRoleOrder{Remove: slices.Clone(others)}
	}
	return r.changeRoot(ctx, stack.TUFOrder{Snapshot: remove("snapshot"), Timestamp: remove("timestamp")})
}
