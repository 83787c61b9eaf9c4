package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pglog"
	"sigstack/tools/load/usage"
)

// What is measured on a database: the log itself, without HTTP, by as many callers as
// the load driver has.
const (
	growthSchema = "growth"
	dbClients    = 64
	dbMostAdds   = 20_000
	dbShare      = 50
)

// dbMeasurement is one run on a database.
type dbMeasurement struct {
	urlFile     string
	from, limit uint64
	rounds, pid int
	reads, adds int // per round and kind; adds at least, or the dbShare-th part of the log
	out         io.Writer

	url     string
	conn    *pgx.Conn
	server  *usage.Process // nil: it cannot be seen
	filler  *filler
	next    uint64     // the next proposal
	digests []string   // of some entries, to search for
	places  []uint64   // all over the log, to read
	ids     [][32]byte // leaf hashes there
}

// run makes the log, and measures at from entries and at every power of ten more.
func (m *dbMeasurement) run(ctx context.Context) (err error) {
	if m.urlFile == "" || m.from < 1 || m.rounds < 1 || m.reads < 1 || m.adds < 1 {
		return errors.New(synopsis)
	}
	data, err := os.ReadFile(m.urlFile)
	if err != nil {
		return fmt.Errorf("-url-file: %w", err)
	}
	m.url = strings.TrimSpace(string(data))
	if m.conn, err = pgx.Connect(ctx, m.url); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.conn.Close(context.WithoutCancel(ctx))) }()
	if m.pid != 0 {
		if m.server, err = usage.WatchFamily(m.pid); err != nil {
			return fmt.Errorf("-family-pid: %w", err)
		}
	}
	if _, err := pglog.Migrate(ctx, m.url, growthSchema); err != nil {
		return err
	}
	store, err := pglog.Open(ctx, pglog.Options{URL: m.url, Schema: growthSchema, Now: time.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	id, err := merkle.CreateTree(ctx, store, "growth")
	if err != nil {
		return err
	}
	tree, err := merkle.Open(ctx, merkle.Config{Storage: store, TreeID: id, Now: time.Now})
	if err != nil {
		return err
	}
	if m.filler, err = newFiller(tree, "http://log.example", "log.example"); err != nil {
		return err
	}
	return running(ctx, tree, m.grow)
}

func (m *dbMeasurement) grow(ctx context.Context) error {
	for size := m.from; size <= m.limit; size *= 10 {
		if err := m.filler.fill(ctx, size, io.Discard); err != nil {
			return err
		}
		// As after a while: rows that are dead are gone, and a checkpoint is over.
		for _, command := range []string{"VACUUM ANALYZE", "CHECKPOINT"} {
			if _, err := m.conn.Exec(ctx, command); err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
		}
		m.printf("\n%d entries\n", size)
		if err := m.sizes(ctx, size); err != nil {
			return err
		}
		if err := m.operations(ctx, size); err != nil {
			return fmt.Errorf("at %d entries: %w", size, err)
		}
	}
	return nil
}

// sizes prints bytes per entry, by table and index.
func (m *dbMeasurement) sizes(ctx context.Context, size uint64) error {
	rows, err := m.conn.Query(ctx, "SELECT CASE c.relkind WHEN 'i' THEN 'index ' ELSE 'table ' END || c.relname, "+
		"CASE c.relkind WHEN 'i' THEN pg_relation_size(c.oid) ELSE pg_table_size(c.oid) END AS bytes "+
		"FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind IN ('r', 'i') ORDER BY bytes DESC, 1", growthSchema)
	if err != nil {
		return err
	}
	defer rows.Close()
	var all int64
	var small []string
	for rows.Next() {
		var name string
		var bytes int64
		if err := rows.Scan(&name, &bytes); err != nil {
			return err
		}
		all += bytes
		if each := float64(bytes) / float64(size); each < 1 {
			small = append(small, name)
		} else {
			m.printf("  %-36s %8.0f bytes each\n", name, each)
		}
	}
	m.printf("  %-36s %8.0f bytes each; below one: %d others\n", "all", float64(all)/float64(size), len(small))
	return rows.Err()
}

// operations measures reads, and adds last: they change the size.
func (m *dbMeasurement) operations(ctx context.Context, size uint64) error {
	if err := m.choose(ctx, size); err != nil {
		return err
	}
	service := m.filler.service
	adds := max(m.adds, min(int(size/dbShare), dbMostAdds))
	var proposals [][]byte
	for _, op := range []struct {
		name    string
		count   int
		prepare func() error
		do      func(ctx context.Context, i uint64) error
	}{
		{"get by index", m.reads, nil, func(ctx context.Context, i uint64) error {
			_, err := service.ByIndex(ctx, m.places[i])
			return err
		}},
		{"get by hash", m.reads, nil, func(ctx context.Context, i uint64) error {
			r, err := service.ByHash(ctx, 0, m.ids[i])
			if err == nil && r.LogIndex != m.places[i] {
				err = fmt.Errorf("entry %d is found at %d", m.places[i], r.LogIndex)
			}
			return err
		}},
		{"search", m.reads, nil, func(ctx context.Context, i uint64) error {
			found, err := service.Search(ctx, []string{m.digests[i]}, false)
			if err == nil && len(found.IDs) != 1 {
				err = fmt.Errorf("%d entries are found by %s, want one", len(found.IDs), m.digests[i])
			}
			return err
		}},
		{"add", adds, func() (err error) {
			proposals, err = m.propose(adds)
			return err
		}, func(ctx context.Context, i uint64) error { return m.filler.add(ctx, proposals[i]) }},
	} {
		var s samples
		for range m.rounds {
			if op.prepare != nil {
				if err := op.prepare(); err != nil {
					return err
				}
			}
			if err := m.round(ctx, &s, op.count, op.do); err != nil {
				return fmt.Errorf("%s: %w", op.name, err)
			}
		}
		m.printf("  %-14s %s\n", op.name, s.text())
	}
	return nil
}

// choose takes places all over the log.
func (m *dbMeasurement) choose(ctx context.Context, size uint64) error {
	m.places, m.ids, m.digests = nil, nil, nil
	for i := range uint64(m.reads) {
		place := i * 7919 % size
		r, err := m.filler.service.ByIndex(ctx, place)
		if err != nil {
			return err
		}
		found, err := identify(fmt.Appendf(nil, `{"":{"body":%q}}`, base64.StdEncoding.EncodeToString(r.Body)))
		if err != nil {
			return err
		}
		m.places, m.ids, m.digests = append(m.places, place), append(m.ids, r.LeafHash), append(m.digests, "sha256:"+found.hash)
	}
	return nil
}

// propose makes entries that nobody has made.
func (m *dbMeasurement) propose(n int) ([][]byte, error) {
	if m.next == 0 {
		m.next = uint64(time.Now().UnixNano())
	}
	all := make([][]byte, n)
	for i := range all {
		var err error
		if all[i], err = propose(m.filler.signers, m.next); err != nil {
			return nil, err
		}
		m.next++
	}
	return all, nil
}

// round does one thing so many times, by so many callers at once.
func (m *dbMeasurement) round(ctx context.Context, s *samples, n int, do func(context.Context, uint64) error) error {
	own, err := usage.Self()
	if err != nil {
		return err
	}
	if m.server != nil {
		if err := m.server.Mark(); err != nil {
			return err
		}
	}
	var before int64
	const written = "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint"
	if err := m.conn.QueryRow(ctx, written).Scan(&before); err != nil {
		return err
	}
	took := make([]time.Duration, n)
	began := time.Now()
	err = atOnce(ctx, dbClients, uint64(n), func(uint64) {}, func(ctx context.Context, i uint64) error {
		begin := time.Now()
		err := do(ctx, i)
		took[i] = time.Since(begin)
		return err
	})
	elapsed := time.Since(began)
	if err != nil {
		return err
	}
	after, err := usage.Self()
	if err != nil {
		return err
	}
	var server time.Duration
	if m.server != nil {
		if server, err = m.server.Used(); err != nil {
			return err
		}
	}
	var wal int64
	if err := m.conn.QueryRow(ctx, written).Scan(&wal); err != nil {
		return err
	}
	slices.Sort(took)
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(n) }
	s.add(float64(n)/elapsed.Seconds(), milliseconds(took[n/2]), milliseconds(took[n*99/100]), each(after-own), each(server), float64(wal-before)/float64(n))
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// samples are what rounds came to, in the order of the columns.
type samples struct{ columns [6][]float64 }

func (s *samples) add(values ...float64) {
	for i, v := range values {
		s.columns[i] = append(s.columns[i], v)
	}
}

// text has of each column the median, and the lowest and highest.
func (s *samples) text() string {
	var parts []string
	for i, format := range []string{"%s a second", "p50 %s ms", "p99 %s ms", "CPU %s µs here", "%s µs in the database", "%s bytes of write-ahead log"} {
		values, digits := slices.Sorted(slices.Values(s.columns[i])), 0
		if i == 1 || i == 2 {
			digits = 1
		}
		parts = append(parts, fmt.Sprintf(format, fmt.Sprintf("%.*f (%.*f to %.*f)", digits, values[len(values)/2], digits, values[0], digits, last(values))))
	}
	return strings.Join(parts, ", ")
}

func (m *dbMeasurement) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(m.out, format, args...) // for who watches
}
