package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Anchor is how far the audit record of a replica had come when its head was last put
// down.
type Anchor struct {
	Chain     [32]byte
	Replica   string // whose record it is
	Seq       uint64 // of the newest record, 1 or more
	Hash      [32]byte
	Signature string    // over the head's statement, as its file has it
	Seen      time.Time // by the database's clock
	// Doubt is why the record in the replica's directory was found not to be this one;
	// "": it was not.
	Doubt string
}

// ErrAnchorBack is the error of PutAnchor when the database has a later head of the
// chain, or another one: somebody else writes it, or it was put back.
var ErrAnchorBack = errors.New("the database has a later head of this audit record, or another one: two processes write it, or its directory was put back")

// PutAnchor puts down how far this replica's record is.
func (f *Fleet) PutAnchor(ctx context.Context, a Anchor) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	tag, err := f.pool.Exec(ctx, `INSERT INTO Anchors AS a (Process, Chain, Replica, Seq, Hash, Signature) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (Process, Chain) DO UPDATE SET Replica = excluded.Replica, Seq = excluded.Seq, Hash = excluded.Hash,
			Signature = excluded.Signature, Seen = clock_timestamp()
		WHERE a.Seq < excluded.Seq OR a.Seq = excluded.Seq AND a.Hash = excluded.Hash`,
		f.cfg.Process, a.Chain[:], f.cfg.Name, int64(a.Seq), a.Hash[:], a.Signature)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrAnchorBack
	}
	if err != nil {
		return fmt.Errorf("put down the audit record's head: %w", err)
	}
	return nil
}

// Doubt notes why a record of this replica is not what the database has of it, for the
// other replicas to tell; "" takes that back. A chain of which nothing is known is left
// alone.
func (f *Fleet) Doubt(ctx context.Context, chain [32]byte, why string) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	_, err := f.pool.Exec(ctx, `UPDATE Anchors SET Doubt = nullif($3, '') WHERE Process = $1 AND Chain = $2 AND coalesce(Doubt, '') <> $3`,
		f.cfg.Process, chain[:], why)
	if err != nil {
		return fmt.Errorf("note a doubt about an audit record: %w", err)
	}
	return nil
}

// Anchors lists those of every record that replicas of the process have kept, the
// newest first.
func (f *Fleet) Anchors(ctx context.Context) ([]Anchor, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return f.cfg.anchors(ctx, f.pool)
}

// PutStatements puts down statements of heads that are in the transparency log, or are
// about to be.
func (f *Fleet) PutStatements(ctx context.Context, statements ...[]byte) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	_, err := f.pool.Exec(ctx, `INSERT INTO Statements (Process, Digest, Statement)
		SELECT DISTINCT $1, sha256(s), s FROM unnest($2::bytea[]) s ON CONFLICT DO NOTHING`, f.cfg.Process, statements)
	if err != nil {
		return fmt.Errorf("put down what the log is to have of the audit record: %w", err)
	}
	return nil
}

// ListStatements lists the statements of all replicas' records, for who is none of the
// fleet. A digest has to be computed from the statement: the database could say another.
func ListStatements(ctx context.Context, cfg Config) (out [][]byte, err error) {
	err = cfg.with(ctx, "list entries of audit records", func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT Statement FROM Statements WHERE Process = $1", cfg.Process)
		if err == nil {
			out, err = pgx.CollectRows(rows, pgx.RowTo[[]byte])
		}
		return err
	})
	return out, err
}

// ListAnchors is Anchors for who is none of the fleet: name and pin of the
// configuration may be anything valid.
func ListAnchors(ctx context.Context, cfg Config) (list []Anchor, err error) {
	err = cfg.with(ctx, "list audit records", func(conn *pgx.Conn) error {
		list, err = cfg.anchors(ctx, conn)
		return err
	})
	return list, err
}

func (c Config) anchors(ctx context.Context, q queryer) ([]Anchor, error) {
	rows, err := q.Query(ctx, `SELECT Chain, Replica, Seq, Hash, Signature, Seen, coalesce(Doubt, '') FROM Anchors
		WHERE Process = $1 ORDER BY Seen DESC, Chain`, c.Process)
	if err != nil {
		return nil, fmt.Errorf("read heads of audit records: %w", err)
	}
	var out []Anchor
	var a Anchor
	var chain, hash []byte
	var seq int64
	_, err = pgx.ForEachRow(rows, []any{&chain, &a.Replica, &seq, &hash, &a.Signature, &a.Seen, &a.Doubt}, func() error {
		if len(chain) != len(a.Chain) || len(hash) != len(a.Hash) || seq < 1 {
			return fmt.Errorf("head of an audit record of %s is damaged", a.Replica)
		}
		a.Chain, a.Hash, a.Seq = [32]byte(chain), [32]byte(hash), uint64(seq)
		out = append(out, a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read heads of audit records: %w", err)
	}
	return out, nil
}
