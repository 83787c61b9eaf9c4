package fleet

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"sigstack/internal/durable"
)

// Operators edit config.yaml and the files that it names, and commands write the journals
// of rotations. What such a file was when the fleet and this directory last agreed on it
// is put down here, as sha256sum writes it: only so can an edit be told from a copy that
// is out of date.
const agreedFile = "replica/agreed.sha256"

// TakeEdits gives the fleet what was edited in this directory while no replica ran, and
// returns those paths. A file that the fleet has changed since, and any while a replica
// leads, is left for Pull to replace. It is called before Pull, and before Run.
func (f *Fleet) TakeEdits(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	agreed, err := readAgreed(f.cfg.Dir)
	if err != nil {
		return nil, err
	}
	edited, err := scan(f.cfg.Dir, f.cfg.Paths())
	if err != nil {
		return nil, fmt.Errorf("take edits: %w", err)
	}
	editable := f.cfg.editable()
	gone := map[string]bool{} // journals of rotations that are finished, or were abandoned
	for p := range agreed {
		if _, ok := edited[p]; !ok && strings.HasPrefix(p, journals) {
			gone[p] = true
		}
	}
	maps.DeleteFunc(edited, func(p string, is file) bool { return !editable(p) || is.sum() == agreed[p] })
	if len(edited)+len(gone) == 0 || agreed == nil {
		return nil, nil
	}
	err = pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) error { return f.takeEdits(ctx, tx, edited, gone, agreed) })
	if errors.Is(err, errNothing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("take edits: %w", err)
	}
	return slices.Sorted(maps.Keys(merged(edited, gone))), nil
}

// merged are the paths of both.
func merged(edited map[string]file, gone map[string]bool) map[string]bool {
	all := maps.Clone(gone)
	for p := range edited {
		all[p] = true
	}
	return all
}

// errNothing ends a transaction that has nothing to change.
var errNothing = errors.New("nothing was edited that counts")

// takeEdits writes those edits that count, and takes the others out of edited and gone.
func (f *Fleet) takeEdits(ctx context.Context, tx pgx.Tx, edited map[string]file, gone map[string]bool, agreed map[string][32]byte) error {
	// Whoever has the lock leads; nobody can until the commit.
	var free bool
	if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", f.lock()).Scan(&free); err != nil {
		return err
	}
	if !free {
		return errNothing
	}
	// A leader that has lost the lock, and does not know it yet, is refused by the term.
	var revision int64
	row := tx.QueryRow(ctx, "UPDATE Fleets SET Revision = Revision + 1, Term = Term + 1 WHERE Process = $1 RETURNING Revision", f.cfg.Process)
	if err := row.Scan(&revision); err != nil {
		return err
	}
	have, err := listFiles(ctx, tx, f.cfg.Process)
	if err != nil {
		return err
	}
	maps.DeleteFunc(edited, func(p string, is file) bool {
		was, there := have[p]
		base, known := agreed[p]
		sum := is.sum()
		return there && was.there != known || !there && known || known && !bytes.Equal(was.sum, base[:]) || bytes.Equal(was.sum, sum[:])
	})
	maps.DeleteFunc(gone, func(p string, _ bool) bool {
		was, base := have[p], agreed[p]
		return !was.there || !bytes.Equal(was.sum, base[:])
	})
	all := merged(edited, gone)
	if len(all) == 0 {
		return errNothing
	}
	changes := f.differences(have, edited, revision, func(p string) bool { return all[p] })
	return tx.SendBatch(ctx, changes).Close()
}

// editable reports which files are edited beside the leader: by operators config.yaml and
// what it names, by commands the journals of rotations, which are ahead of the fleet
// until the next act.
func (c Config) editable() func(path string) bool {
	paths := c.Paths()
	return func(p string) bool {
		return mayReplicate(p) && (p == configFile || strings.HasPrefix(p, journals) || slices.Contains(paths, p))
	}
}

// agree puts down what the fleet has of the files that operators edit.
func (c Config) agree(have map[string]stored) error {
	var out strings.Builder
	editable := c.editable()
	for _, p := range slices.Sorted(maps.Keys(have)) {
		if is := have[p]; is.there && editable(p) {
			fmt.Fprintf(&out, "%x  %s\n", is.sum, p)
		}
	}
	name := filepath.Join(c.Dir, filepath.FromSlash(agreedFile))
	if was, err := os.ReadFile(name); err == nil && string(was) == out.String() {
		return nil
	}
	if err := durable.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(name, []byte(out.String()), 0o600)
}

// readAgreed returns nil if nothing was put down yet.
func readAgreed(dir string) (map[string][32]byte, error) {
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(agreedFile)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing
	}
	if err != nil {
		return nil, err
	}
	agreed, err := parseAgreed(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; without it, what the database has counts", agreedFile, err)
	}
	return agreed, nil
}

func parseAgreed(data []byte) (map[string][32]byte, error) {
	out := map[string][32]byte{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		sum, p, ok := strings.Cut(lines.Text(), "  ")
		raw, err := hex.DecodeString(sum)
		if !ok || err != nil || len(raw) != sha256.Size || !mayReplicate(p) {
			return nil, fmt.Errorf("line %q: want a SHA-256 in hex, two spaces and a path", lines.Text())
		}
		out[p] = [32]byte(raw)
	}
	return out, lines.Err()
}
