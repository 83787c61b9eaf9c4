package stack

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sigstack/internal/audit"
	"sigstack/internal/config"
	"sigstack/internal/fleet"
)

// showEvery is how often a replica puts the head of its audit record into the database.
// What was recorded since can be cut off unseen by who also puts back the signed head.
const showEvery = 10 * time.Second

// showLastWithin bounds the last time, since a stop does not wait for a database.
const showLastWithin = 2 * time.Second

// wantSeenRecord refuses a record that is older than the database has seen it, or
// another one, and tells the other replicas.
func (s *Stack) wantSeenRecord(ctx context.Context) error {
	m := s.opts.member
	if m == nil || s.conf.Audit == nil {
		return nil
	}
	all, err := m.fleet.Anchors(ctx)
	if err != nil {
		return err
	}
	head := s.audit.Head()
	for _, a := range all {
		if a.Chain != head.Chain {
			continue
		}
		err := audit.Holds(s.layout.Audit(), head.Seq, seenHead(a).Head)
		var back *audit.PutBackError
		if errors.As(err, &back) {
			s.doubtRecord(ctx, s.audit.Chain(), err)
			return fmt.Errorf("%s is not the record that the database has seen on %s: %w; keep the directory as evidence, and see docs/audit.md, Replicas",
				s.layout.Audit(), stampOf(a.Seen), err)
		}
		if err != nil {
			return err
		}
		return m.fleet.Doubt(ctx, head.Chain, "")
	}
	// It is new there: what was anchored before is told once.
	before, err := audit.Statements(s.layout.Audit())
	if err != nil || len(before) == 0 {
		return err
	}
	return m.fleet.PutStatements(ctx, before...)
}

// doubtRecord tells the other replicas why this one does not go on with its record.
func (s *Stack) doubtRecord(ctx context.Context, chain string, why error) {
	m, id, err := s.opts.member, [32]byte{}, error(nil)
	if m == nil {
		return
	}
	if n, errHex := hex.Decode(id[:], []byte(chain)); errHex != nil || n != len(id) {
		return // it has no section audit, or one that nothing starts with
	}
	if err = m.fleet.Doubt(ctx, id, why.Error()); err != nil {
		s.opts.Log.WarnContext(ctx, "the other replicas do not know that this one's audit record is refused", slog.Any("error", err))
	}
}

// showRecord puts the record's head into the database, as often as it has moved on,
// until ctx ends. The database away is known elsewhere; what is missed is made up for.
func (s *Stack) showRecord(ctx context.Context) {
	if s.opts.member == nil || s.conf.Audit == nil {
		<-ctx.Done()
		return
	}
	next := time.NewTicker(showEvery)
	defer next.Stop()
	var shown uint64
	told := ""
	for {
		if seq, err := s.showHead(ctx, shown); err == nil {
			shown, told = seq, ""
		} else if ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			s.opts.Log.ErrorContext(ctx, "the database does not have the head of this replica's audit record", slog.Any("error", err))
		}
		select {
		case <-next.C:
		case <-ctx.Done():
			return
		}
	}
}

// showLast is the last time, over the record of the stop and its anchor.
func (s *Stack) showLast(ctx context.Context) {
	if s.opts.member == nil || s.conf.Audit == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), showLastWithin)
	defer cancel()
	if _, err := s.showHead(ctx, 0); err != nil {
		s.opts.Log.WarnContext(ctx, "the database does not have the last head of this replica's audit record", slog.Any("error", err))
	}
}

// showHead shows the head unless it is at record shown still.
func (s *Stack) showHead(ctx context.Context, shown uint64) (uint64, error) {
	if s.audit.Head().Seq == shown {
		return shown, nil
	}
	seen, err := s.audit.Seen()
	if err != nil {
		return 0, err
	}
	f := s.opts.member.fleet
	err = f.PutAnchor(ctx, fleet.Anchor{Chain: seen.Chain, Seq: seen.Seq, Hash: seen.Hash, Signature: seen.Signature})
	if errors.Is(err, fleet.ErrAnchorBack) {
		err = errors.Join(err, f.Doubt(ctx, seen.Chain, err.Error()))
	}
	return seen.Seq, err
}

func seenHead(a fleet.Anchor) audit.Seen {
	return audit.Seen{Head: audit.Head{Chain: a.Chain, Seq: a.Seq, Hash: a.Hash}, Signature: a.Signature}
}

func stampOf(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ReplicaRecord is a record that a replica of the same process keeps, or has kept, as
// far as the database has seen it.
type ReplicaRecord struct {
	Replica string    `json:"replica"`
	Chain   string    `json:"chain"`
	Seq     uint64    `json:"seq"`
	Seen    time.Time `json:"seen"` // by the database's clock
	Own     bool      `json:"own"`  // it is the one that was verified
	// Kept reports whether it is the newest one of a replica that has not been removed:
	// any other one was put aside, or is lost with its directory.
	Kept bool `json:"kept"`
}

// seenRecords are what the database has.
type seenRecords struct {
	records  []fleet.Anchor
	replicas map[string]bool
	others   map[[32]byte]bool // digests of statements of other records, that the log has
}

// readSeen reads what the database has of the replicas' records, before the record is
// read, which may grow.
func (v *auditVerifier) readSeen(ctx context.Context) error {
	if v.Dir == "" || v.Offline || !v.signed {
		return nil
	}
	if r, err := config.LoadReplica(v.Dir); r == nil || err != nil {
		return err
	}
	return Layout{v.Dir}.ofFleet(ctx, func(cfg fleet.Config) (err error) {
		if v.seen.records, err = fleet.ListAnchors(ctx, cfg); err != nil {
			return err
		}
		statements, err := fleet.ListStatements(ctx, cfg)
		if err != nil {
			return err
		}
		v.seen.others = map[[32]byte]bool{}
		for _, s := range statements {
			if !audit.IsOf(s, v.conf.Chain) {
				v.seen.others[sha256.Sum256(s)] = true
			}
		}
		list, err := fleet.List(ctx, cfg)
		v.seen.replicas = map[string]bool{}
		for _, r := range list {
			v.seen.replicas[r.Name] = true
		}
		return err
	})
}

// seenBy holds what was verified, and what others keep, against the database.
func (v *auditVerifier) seenBy(rep audit.Report, keys []*ecdsa.PublicKey) (out []ReplicaRecord, err error) {
	newest := map[string]bool{} // replicas whose newest record was told: it comes first
	for _, a := range v.seen.records {
		r := ReplicaRecord{Replica: a.Replica, Chain: hex.EncodeToString(a.Chain[:]), Seq: a.Seq, Seen: a.Seen}
		r.Own, r.Kept = r.Chain == rep.Chain, v.seen.replicas[a.Replica] && !newest[a.Replica]
		newest[a.Replica] = true
		if !signedByAny(seenHead(a), keys) {
			return nil, fmt.Errorf("replica %s, chain %s: what the database has as its head is signed by no key of the kit: the database was changed", r.Replica, r.Chain)
		}
		if r.Own {
			err = audit.Holds(Layout{v.Dir}.Audit(), rep.LastSeq, seenHead(a).Head)
		} else if r.Kept && a.Doubt != "" {
			err = errors.New(a.Doubt)
		}
		if err != nil {
			return nil, fmt.Errorf("replica %s, chain %s, of which the database has seen record %d on %s: %w", r.Replica, r.Chain, r.Seq, stampOf(r.Seen), err)
		}
		out = append(out, r)
	}
	return out, nil
}

func signedByAny(s audit.Seen, keys []*ecdsa.PublicKey) bool {
	for _, key := range keys {
		if s.Verify(key) == nil {
			return true
		}
	}
	return false
}
