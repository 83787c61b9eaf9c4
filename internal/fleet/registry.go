package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
)

// Replica is one of a fleet.
type Replica struct {
	Name    string
	Address string // host:port where others reach it
	Pin     Pin
	Applied int64         // revision that it works with
	Seen    time.Time     // its last sign of life by the database's clock; 1970: none yet, or it has stopped
	Age     time.Duration // of that sign of life
	Alive   bool          // that was within its lease
	Leads   bool
}

// CheckAddress refuses what no replica can be reached at.
func CheckAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" || port == "0" {
		return fmt.Errorf("address %q: want host:port where other replicas reach this one", address)
	}
	return nil
}

// Errors of joining.
var (
	ErrFounded = errors.New("the database has the files of a stack already: join with an empty directory")
	ErrEmpty   = errors.New("the database has no stack's files yet: the first replica to join is the directory of the stack itself")
	ErrTaken   = errors.New("a replica of that name, with another key, is one of the fleet already: choose another name")
)

// Found makes a fleet of the one replica whose directory the stack is: its files are
// the fleet's from now on.
func Found(ctx context.Context, cfg Config, address string) error {
	return cfg.once(ctx, "found fleet", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO Fleets (Process) VALUES ($1) ON CONFLICT DO NOTHING", cfg.Process); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, "UPDATE Fleets SET Revision = 1 WHERE Process = $1 AND Revision = 0", cfg.Process)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrFounded
		}
		local, err := scan(cfg.Dir, cfg.Paths())
		if err != nil {
			return err
		}
		f := &Fleet{cfg: cfg}
		if err := tx.SendBatch(ctx, f.differences(nil, local, 1, nil)).Close(); err != nil {
			return err
		}
		if err := cfg.agree(after(nil, local, nil)); err != nil {
			return err
		}
		return cfg.register(ctx, tx, address)
	})
}

// Fetch fills a directory with the files of a fleet that was founded.
func Fetch(ctx context.Context, cfg Config) error {
	return cfg.with(ctx, "fetch files", func(conn *pgx.Conn) error {
		_, revision, err := pull(ctx, conn, cfg)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && revision == 0 {
			return ErrEmpty
		}
		return err
	})
}

// Join puts a replica down, with its key and its address. One that is there with the
// same key gets the address.
func Join(ctx context.Context, cfg Config, address string) error {
	return cfg.once(ctx, "join fleet", func(tx pgx.Tx) error { return cfg.register(ctx, tx, address) })
}

func (c Config) register(ctx context.Context, tx pgx.Tx, address string) error {
	tag, err := tx.Exec(ctx, `INSERT INTO Replicas (Process, Name, Address, Pin) VALUES ($1, $2, $3, $4)
		ON CONFLICT (Process, Name) DO UPDATE SET Address = excluded.Address WHERE Replicas.Pin = excluded.Pin`,
		c.Process, c.Name, address, c.Pin[:])
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrTaken
	}
	return err
}

// once checks the configuration and the schema, and does something in one transaction.
func (c Config) once(ctx context.Context, what string, do func(pgx.Tx) error) error {
	return c.with(ctx, what, func(conn *pgx.Conn) error { return pgx.BeginFunc(ctx, conn, do) })
}

func (c Config) with(ctx context.Context, what string, do func(*pgx.Conn) error) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	if err := checkVersion(ctx, c.URL, c.Schema); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	config, err := connConfig(c.URL, c.Schema)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("%s: connect: %w", what, err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if err := do(conn); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// known refuses a fleet that does not know this replica.
func (f *Fleet) known(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var is bool
	row := f.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM Replicas WHERE Process = $1 AND Name = $2 AND Pin = $3)", f.cfg.Process, f.cfg.Name, f.cfg.Pin[:])
	if err := row.Scan(&is); err != nil {
		return err
	}
	if !is {
		return ErrUnknown
	}
	return nil
}

// Replicas lists those of the fleet by name.
func (f *Fleet) Replicas(ctx context.Context) ([]Replica, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return f.cfg.list(ctx, f.pool)
}

// List lists the replicas of a fleet for who is none of them: name and pin of the
// configuration may be anything valid.
func List(ctx context.Context, cfg Config) (list []Replica, err error) {
	if err := cfg.check(); err != nil { // which has the default of the lease
		return nil, err
	}
	err = cfg.with(ctx, "list replicas", func(conn *pgx.Conn) error {
		list, err = cfg.list(ctx, conn)
		return err
	})
	return list, err
}

func (c Config) list(ctx context.Context, q queryer) ([]Replica, error) {
	rows, err := q.Query(ctx, `SELECT r.Name, r.Address, r.Pin, r.Applied, r.Seen,
			r.Seen > clock_timestamp() - make_interval(secs => $2), coalesce(f.Leader = r.Name, false),
			extract(epoch FROM clock_timestamp() - r.Seen)::float8
		FROM Replicas r JOIN Fleets f USING (Process) WHERE r.Process = $1 ORDER BY r.Name`, c.Process, c.Lease.Seconds())
	if err != nil {
		return nil, err
	}
	var out []Replica
	var r Replica
	var pin []byte
	var age float64
	_, err = pgx.ForEachRow(rows, []any{&r.Name, &r.Address, &pin, &r.Applied, &r.Seen, &r.Alive, &r.Leads, &age}, func() error {
		if len(pin) != len(Pin{}) {
			return fmt.Errorf("pin of replica %s has %d bytes", r.Name, len(pin))
		}
		r.Pin, r.Age = Pin(pin), time.Duration(age*float64(time.Second))
		out = append(out, r)
		return nil
	})
	return out, err
}
