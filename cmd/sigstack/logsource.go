package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"sigstack/internal/durable"
	"sigstack/internal/signing"
	"sigstack/internal/stack"
)

// logSource is a log that can be read: by its API, or in a stopped directory. What
// it returns was verified.
type logSource interface {
	entry(ctx context.Context, name string, size uint64) (signing.LogEntry, error)
	consistency(ctx context.Context, tree string, first, second uint64) (signing.LogConsistency, error)
	search(ctx context.Context, q signing.LogQuery, limit int) (hits []stack.LogHit, more string, err error)
	// vouched says in words what the answers rest on.
	vouched() string
	close() error
}

// logSourceFlags choose the log.
type logSourceFlags struct {
	clientFlags
	stopped, url string
}

func (l *logSourceFlags) add(f *pflag.FlagSet) {
	l.clientFlags.add(f)
	f.StringVar(&l.stopped, "dir", "", "read the log of this data `directory`, which is not served, or of a copy of one, instead of asking a log")
	f.StringVar(&l.url, "url", "", "`URL` of the log to ask (default: the client kit's)")
	_ = f.MarkHidden("offline") // --dir is what reads without a connection
}

func (l *logSourceFlags) open(ctx context.Context, a *app) (logSource, error) {
	if l.stopped == "" {
		if l.offline {
			return nil, usagef("--offline: name the directory of a stopped stack, or of a copy, with --dir")
		}
		return l.online(ctx, a)
	}
	if l.url != "" || l.dir != "" || l.trustedRoot != "" || l.tufURL != "" {
		return nil, usagef("--dir excludes --url, --client, --trusted-root and --tuf-url: nobody is asked, and nothing is signed there")
	}
	if err := wantStack(stack.Layout{Dir: l.stopped}); err != nil {
		return nil, err
	}
	log, err := stack.OpenStoppedLog(ctx, l.stopped, a.now)
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("%w: leave out --dir to ask the log that is served, stop it first, or read a copy", err)
	}
	if err != nil {
		return nil, err
	}
	return stoppedSource{log, l.stopped}, nil
}

func (l *logSourceFlags) online(ctx context.Context, a *app) (logSource, error) {
	kit, err := l.kit(ctx, a)
	if err != nil {
		return nil, err
	}
	if l.url == "" && l.trustedRoot != "" && l.signingConfig == "" {
		return nil, usagef("--trusted-root says whom to trust, not whom to ask: add --url or --signing-config")
	}
	reader, err := kit.NewLogReader(l.url, a.now())
	if err != nil {
		return nil, err
	}
	return servedSource{reader, kit.Trusted}, nil
}

// servedSource is a log that is asked.
type servedSource struct {
	*signing.LogReader
	trusted *signing.TrustRoot
}

func (s servedSource) entry(ctx context.Context, name string, size uint64) (signing.LogEntry, error) {
	e, err := s.Get(ctx, name)
	if err == nil && size != 0 && size != e.TreeSize {
		return e, usagef("--size %d: the log's API proves in the newest tree only, which has %d entries; with --dir a stopped log proves in any", size, e.TreeSize)
	}
	return e, err
}

func (s servedSource) consistency(ctx context.Context, tree string, first, second uint64) (signing.LogConsistency, error) {
	if second == 0 {
		trees, err := s.Trees(ctx)
		if err != nil {
			return signing.LogConsistency{}, err
		}
		for _, t := range trees {
			if t.TreeID == tree || tree == "" {
				second = t.Size // of "", the last one's
			}
		}
	}
	return s.Consistency(ctx, tree, first, second)
}

func (s servedSource) search(ctx context.Context, q signing.LogQuery, limit int) (hits []stack.LogHit, more string, err error) {
	ids, truncated, err := s.Search(ctx, q)
	if err != nil {
		return nil, "", err
	}
	if truncated {
		more = fmt.Sprintf("the log has more than the %d that it tells: ask for less, or search with --dir in a copy of its directory", len(ids))
	}
	if limit > 0 && len(ids) > limit {
		more = fmt.Sprintf("%d more: --limit %d or --all shows them", len(ids)-limit, 10*limit)
		if truncated {
			more = "many more: --all shows as many as the log tells"
		}
		ids = ids[:limit]
	}
	hits = []stack.LogHit{}
	for _, id := range ids {
		e, err := s.Get(ctx, id)
		if err != nil {
			return nil, "", err
		}
		hit, err := stack.CheckHit(q, e)
		if err != nil {
			return nil, "", err
		}
		hits = append(hits, hit)
	}
	return hits, more, nil
}

func (s servedSource) vouched() string {
	return "entry timestamps, checkpoints and proofs verified by trust root " + s.trusted.String()
}

func (servedSource) close() error { return nil }

// stoppedSource is a directory that nothing serves.
type stoppedSource struct {
	log *stack.StoppedLog
	dir string
}

func (s stoppedSource) entry(ctx context.Context, name string, size uint64) (signing.LogEntry, error) {
	return s.log.Get(ctx, name, size)
}

func (s stoppedSource) consistency(ctx context.Context, tree string, first, second uint64) (signing.LogConsistency, error) {
	return s.log.Consistency(ctx, tree, first, second)
}

func (s stoppedSource) search(ctx context.Context, q signing.LogQuery, limit int) ([]stack.LogHit, string, error) {
	hits, more, err := s.log.Search(ctx, q, limit)
	if err == nil && more {
		return hits, fmt.Sprintf("there are more: --limit %d or --all shows them", 10*limit), nil
	}
	return hits, "", err
}

func (s stoppedSource) vouched() string {
	return "bodies hashed and proofs verified against the tree in " + s.dir + ", which holds the head in checkpoints/; nothing there is signed"
}

func (s stoppedSource) close() error { return s.log.Close() }
