package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/jackc/pgx/v5"
)

type fileMode = fs.FileMode

// queryer is a transaction, or a pool.
type queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Pull makes the directory what the fleet has, and returns the paths of the files that
// were changed or taken away, and the revision. Files that only this directory has stay.
// A config.yaml that somebody changed here is kept as config.yaml.replaced. The caller
// calls Applied once it works with them.
func (f *Fleet) Pull(ctx context.Context) (changed []string, revision int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	f.mu.Lock()
	doubts := f.doubts // any that come from now on are there after this pull, too
	f.mu.Unlock()
	changed, revision, err = pull(ctx, f.pool, f.cfg)
	if err != nil {
		return changed, 0, fmt.Errorf("pull files: %w", err)
	}
	f.mu.Lock()
	f.pulled = doubts
	f.mu.Unlock()
	return changed, revision, nil
}

// beginner starts transactions.
type beginner interface {
	BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error)
}

// pull takes one snapshot of the files.
func pull(ctx context.Context, db beginner, cfg Config) (changed []string, revision int64, err error) {
	tx, err := db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // it only reads
	if err := tx.QueryRow(ctx, "SELECT Revision FROM Fleets WHERE Process = $1", cfg.Process).Scan(&revision); err != nil {
		return nil, 0, err
	}
	have, err := listFiles(ctx, tx, cfg.Process)
	if err != nil {
		return nil, 0, err
	}
	local, err := scan(cfg.Dir, slices.Collect(maps.Keys(have)))
	if err != nil {
		return nil, 0, err
	}
	for p, want := range have {
		if !mayReplicate(p) {
			return nil, 0, fmt.Errorf("the database has a file %q, which no replica may write", p)
		}
		is, ok := local[p]
		if sum := is.sum(); ok != want.there || ok && (!bytes.Equal(sum[:], want.sum) || is.mode != want.mode) {
			changed = append(changed, p)
		}
	}
	order(changed)
	contents, err := fetch(ctx, tx, cfg.Process, changed)
	if err != nil {
		return nil, 0, err
	}
	if _, ok := contents[configFile]; ok {
		if err := keepLocal(ctx, cfg); err != nil {
			return nil, 0, err
		}
	}
	for _, p := range changed {
		if content, there := contents[p]; !there {
			err = remove(cfg.Dir, p)
		} else {
			err = write(cfg.Dir, p, file{content, have[p].mode})
		}
		if err != nil {
			return changed, 0, err
		}
	}
	return changed, revision, cfg.agree(have)
}

// fetch reads the contents of those of the files that are there.
func fetch(ctx context.Context, tx pgx.Tx, process string, paths []string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, p := range paths {
		var content []byte
		if err := tx.QueryRow(ctx, "SELECT Content FROM Files WHERE Process = $1 AND Path = $2", process, p).Scan(&content); err != nil {
			return nil, err
		}
		if content != nil {
			out[p] = content
		}
	}
	return out, nil
}

// keepLocal keeps the config.yaml that is about to be replaced: it may be somebody's
// edit.
func keepLocal(ctx context.Context, cfg Config) error {
	data, err := os.ReadFile(filepath.Join(cfg.Dir, configFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	cfg.Log.InfoContext(ctx, "config.yaml is replaced by that of the other replicas; what was there is kept beside it", slog.String("kept", configFile+".replaced"))
	return write(cfg.Dir, configFile+".replaced", file{data, 0o600})
}
