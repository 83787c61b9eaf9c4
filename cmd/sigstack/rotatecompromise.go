package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sigstack/internal/durable"
	"sigstack/internal/rotate"
	"sigstack/internal/stack"
)

// Names of the steps that end the trust in a key.
const (
	stepEnd  = "end"
	stepList = "list"
)

// compromised is what a rotation of a key that others may have had does besides.
type compromised struct {
	at   time.Time
	now  bool   // the trust ends before the next key takes over
	name string // of the key, in keys/
}

// readCompromised takes it from the flags, or from the journal of a rotation that is
// under way; nil: it is an ordinary one.
func (r *rotating) readCompromised(known rotation, j *rotate.Journal) (*compromised, error) {
	given, err := r.f.compromise(known)
	if err != nil || j == nil {
		return given, err
	}
	at, err := j.Facts.Time("compromised_at")
	switch {
	case err != nil:
		return nil, err
	case at.IsZero() && given != nil:
		return nil, usagef("an ordinary rotation of %s is under way: finish it, and then say sigstack compromise %s --key NAME --at %s", r.what, r.what, stamp(given.at))
	case at.IsZero():
		return nil, nil //nolint:nilnil // an ordinary one
	}
	was := &compromised{at: at, now: j.Facts["stop_issuing"] != "", name: j.Facts["compromised_key"]}
	if given != nil && (!given.at.Equal(at) || given.now != was.now) {
		return nil, usagef("the rotation was begun with --compromised-at %s, and goes on with what it was begun with", stamp(at))
	}
	return was, nil
}

// compromise is what the flags say.
func (f rotateFlags) compromise(known rotation) (*compromised, error) {
	switch {
	case f.compromisedAt == "" && f.stopIssuing:
		return nil, usagef("--stop-issuing says when the trust ends of a key with --compromised-at, which is not given")
	case f.compromisedAt == "":
		return nil, nil //nolint:nilnil // an ordinary one
	case !slices.Contains(stack.CompromisedKinds(), known.what):
		return nil, usagef("--compromised-at is for %v: nothing that users sign is signed with the keys of %s, so that there is no signature to list. "+
			"Rotate without it, and with --close-after 0s for tuf-online: clients refuse the old keys as soon as they have the new root", stack.CompromisedKinds(), known.what)
	}
	at, err := time.Parse(time.RFC3339, f.compromisedAt)
	if err != nil {
		return nil, usagef("--compromised-at: %w", err)
	}
	return &compromised{at: at.UTC().Truncate(time.Second), now: f.stopIssuing}, nil
}

// facts notes it in a rotation that begins.
func (c *compromised) facts(f rotate.Facts) {
	if c == nil {
		return
	}
	f["compromised_at"], f["compromised_key"] = c.at.Format(time.RFC3339), c.name
	if c.now {
		f["stop_issuing"] = "yes"
	}
}

// begin finds the key that signs now, and asks whether the trust in it can end then,
// before anything is made.
func (c *compromised) begin(ctx context.Context, r *rotating) error {
	var err error
	if c.name, err = r.keyInUse(ctx); err != nil {
		return err
	}
	order := stack.CompromiseOrder{Kind: r.what, Key: c.name, At: c.at, StopIssuing: true}
	return r.act(ctx, func(ctx context.Context, ch shardChannel) error {
		return ch.Post(ctx, stack.AdminCompromisePlan, order, nil)
	})
}

// keyInUse is the name of the key that signs now.
func (r *rotating) keyInUse(ctx context.Context) (string, error) {
	name := ""
	var err error
	switch r.what {
	case stack.CompromisedLog:
		list, err := r.shards(ctx)
		if err != nil {
			return "", err
		}
		for _, s := range list.Shards {
			if s.State == stack.ShardActive {
				name = s.Key
			}
		}
	case stack.CompromisedCTLog:
		list, err := ctRotation{r}.logs(ctx)
		if err != nil {
			return "", err
		}
		before, err := mayFollow(list)
		if err != nil {
			return "", err
		}
		name = before.Key
	default:
		of := stack.CA
		if r.what == stack.CompromisedTSA {
			of = stack.TSA
		}
		name, err = chainRotation{r, of}.keyInUse(ctx)
	}
	if err == nil && name == "" {
		err = fmt.Errorf("no key of %s signs now: end the trust with sigstack compromise %s --key NAME", r.what, r.what)
	}
	return name, err
}

func (c chainRotation) keyInUse(ctx context.Context) (string, error) {
	list, err := c.list(ctx)
	if err != nil {
		return "", err
	}
	for _, x := range list {
		if x.State == stack.ChainActive {
			return x.Key, nil
		}
	}
	return "", nil
}

// withEnd adds the steps that end the trust and list what that refuses: behind all
// others or, where the trust ends at once, behind the one that publishes the next key.
// The list comes last in any case, when the old key signs no more.
func (r *rotating) withEnd(steps []rotate.Step) []rotate.Step {
	if r.end == nil {
		return steps
	}
	at := len(steps)
	if r.end.now {
		at = 1 + slices.IndexFunc(steps, func(s rotate.Step) bool { return s.Name == "publish" })
	}
	steps = slices.Insert(steps, at, rotate.Step{
		Name: stepEnd, Does: "end the trust in the key of before at " + stamp(r.end.at), Do: r.endTrust,
	})
	return append(steps, rotate.Step{
		Name: stepList, Does: "list every certificate and entry that this refuses", Do: r.listAffected,
	})
}

// endTrust can be repeated: an end that is published is answered as it is.
func (r *rotating) endTrust(ctx context.Context, f rotate.Facts) error {
	order := stack.CompromiseOrder{Kind: r.what, Key: r.end.name, At: r.end.at, StopIssuing: r.end.now}
	r.tolerant = true // of samples that were signed since
	return r.act(ctx, func(ctx context.Context, ch shardChannel) error {
		d, err := endTrustBy(ctx, ch, r.signer, order)
		if err == nil {
			f["ended_key"] = d.Key
		}
		return err
	})
}

// listAffected writes the list beside the journal. A file that is there is whole.
func (r *rotating) listAffected(ctx context.Context, f rotate.Facts) (err error) {
	survey, err := r.a.survey(r.l.Client(), stack.Compromise{Kind: r.what, Key: f["ended_key"], At: r.end.at})
	if err != nil {
		return err
	}
	path := filepath.Join(r.dir(), fmt.Sprintf("affected-%s-%s.jsonl", r.what, r.end.at.Format("20060102T150405Z")))
	file, err := os.CreateTemp(r.dir(), ".affected-*")
	if err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(file.Name()))
		}
	}()
	n, err := writeAffected(ctx, survey, file)
	if err != nil {
		return fmt.Errorf("the list is not complete: %w", err)
	}
	if err := errors.Join(file.Sync(), os.Rename(file.Name(), path)); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	f["list"], f["list_summary"] = path, fmt.Sprintf("trust ends for %d entries and %d certificates, and stays for %d and %d",
		n.EntriesEnd, n.CertificatesEnd, n.EntriesStay, n.CertificatesStay)
	return errors.Join(file.Close(), durable.SyncDir(r.dir()))
}

// writeAffected writes an object a line, as sigstack compromise --output json does.
func writeAffected(ctx context.Context, survey stack.Survey, file *os.File) (stack.SignedCount, error) {
	w := bufio.NewWriter(file)
	lines := json.NewEncoder(w)
	n, err := survey.List(ctx, func(s stack.Signed) error { return lines.Encode(s) })
	if err == nil {
		err = lines.Encode(map[string]stack.SignedCount{"summary": n})
	}
	return n, errors.Join(err, w.Flush())
}
