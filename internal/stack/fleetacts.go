package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/fault"
	"sigstack/internal/fleet"
	"sigstack/internal/httpd"
	"sigstack/internal/merkle"
)

// awaitReplicas bounds how long an act waits for the other replicas.
const awaitReplicas = 30 * time.Second

// ownActs change nothing that replicas share.
var ownActs = []string{"key-test", "audit-anchor"}

// mayAct refuses acts that change something on a replica that does not lead.
func (s *Stack) mayAct(_ context.Context, act string) error {
	if s.opts.member == nil || slices.Contains(ownActs, act) {
		return nil
	}
	st := s.opts.member.fleet.State()
	switch {
	case st.Leading:
		return nil
	case st.Leader == "" || st.Leader == st.Name:
		return fault.New(fault.Unavailable, "no replica leads at present: try again in a moment")
	}
	return fault.Newf(fault.Conflict, "this is replica %s, and %s at %s leads: %s is done there", st.Name, st.Leader, st.LeaderAddress, act)
}

// actDone gives the other replicas what an act has changed, also one that failed
// halfway, and waits until all that are alive work with it.
func (s *Stack) actDone(ctx context.Context, act string, _ error) error {
	m := s.opts.member
	if m == nil || slices.Contains(ownActs, act) {
		return nil
	}
	if err := s.tellActive(); err != nil {
		return err
	}
	revision, err := m.fleet.Push(ctx, nil, s.inForce)
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, act+" was done here, but the database did not take it: what it has counts, and is taken again in a moment")
	}
	return m.await(ctx, revision, act)
}

// activeFile tells the other replicas which shard takes entries. It is for them to
// notice a change: what counts is in the database.
const activeFile = "active-shard.json"

// tellActive writes it if there was ever more than one shard.
func (s *Stack) tellActive() error {
	if s.shards == nil {
		return nil
	}
	name := s.shards.activeName()
	text := fmt.Appendf(nil, "{\n  \"active\": %q\n}\n", name)
	path := filepath.Join(s.layout.Dir, activeFile)
	switch was, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist) && name == s.shards.firstName(), bytes.Equal(was, text):
		return nil
	}
	return durable.WriteFile(path, text, 0o600)
}

// movedOn reports whether another replica has made another shard take entries than
// this Stack believes.
func (s *Stack) movedOn(ctx context.Context) (bool, error) {
	if s.shards == nil {
		return false, nil
	}
	store, err := s.services.storage.of(ctx, treeTLog)
	if err != nil {
		return false, err
	}
	return merkle.IsFrozen(ctx, store, s.shards.activeTree())
}

func (m *member) await(ctx context.Context, revision int64, what string) error {
	ctx, cancel := context.WithTimeout(ctx, awaitReplicas)
	defer cancel()
	if err := m.fleet.Await(ctx, revision); err != nil {
		return fault.Wrap(fault.Unavailable, err, what+" was done, but not every replica that is alive works with it yet (sigstack replica list)")
	}
	return nil
}

// inForce leaves out a config.yaml that no replica could start with: somebody is about
// to edit it.
func (s *Stack) inForce(path string) bool {
	if path != "config.yaml" {
		return true
	}
	f, err := config.ReadFile(s.layout.Config())
	if err != nil {
		return false
	}
	Check(f, s.layout.Dir, s.opts.Now())
	return f.Err() == nil
}

// beforeTimestamp gives the other replicas the trust root that is about to be shown to
// clients: from then on whoever leads has it.
func (s *Stack) beforeTimestamp() func([]byte) error {
	m := s.opts.member
	if m == nil {
		return nil
	}
	return func(timestamp []byte) error {
		ctx, cancel := context.WithTimeout(context.Background(), awaitReplicas)
		defer cancel()
		_, err := m.fleet.Push(ctx, map[string][]byte{"tuf/timestamp.json": timestamp}, func(p string) bool { return strings.HasPrefix(p, "tuf/") })
		return err
	}
}

// leads says whether this process keeps the trust root fresh; nil: nobody else does.
func (s *Stack) leads() func() bool {
	if s.opts.member == nil {
		return nil
	}
	return s.opts.member.fleet.Leading
}

// follows reports whether another replica has the say.
func (s *Stack) follows() bool { return s.opts.member != nil && !s.opts.member.fleet.Leading() }

// refused is why a service takes no request to write at a path, nil if it does.
func (s *Stack) refused(service, path string) error {
	if m := s.opts.member; m != nil && m.fleet.Fenced() {
		return fault.New(fault.Unavailable, "this replica has lost touch with the others, which may have gone on without it")
	}
	return s.stopped(service, path)
}

// partReplica is the part of services under which readiness has that.
const partReplica = "replica"

// watchFleet adds to readiness whether this replica is in touch with the others.
func (s *Stack) watchFleet() {
	if s.opts.member != nil {
		s.services.components = append(s.services.components, component{"replica", s.runFleet}, component{"replicas", s.countReplicas})
	}
}

func (s *Stack) runFleet(ctx context.Context) error {
	f := s.opts.member.fleet
	for {
		changed := f.Changed()
		s.reportFleet(f.State())
		select {
		case <-changed:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Stack) reportFleet(st fleet.State) {
	status, detail := httpd.OK, "replica "+st.Name+" follows "+st.Leader
	switch {
	case st.Removed:
		status, detail = httpd.Down, "replica "+st.Name+" was removed, and is none of the others' any more: stop it (sigstack replica remove)"
	case st.Fenced:
		status, detail = httpd.Down, "replica "+st.Name+" has lost touch with the others: the database is out of reach, or what the leader changed is not taken yet"
	case st.Leading:
		detail = "replica " + st.Name + " leads"
	}
	for _, service := range s.serviceNames() {
		s.ready.SetPart(service, partReplica, status, detail)
	}
}

// wantReplica lets a replica's directory be opened by Serve alone, and has what
// replica.yaml says hold.
func (s *Stack) wantReplica() error {
	r, err := config.LoadReplica(s.opts.Dir)
	if r == nil || err != nil {
		return err
	}
	if s.opts.member == nil {
		return fmt.Errorf("directory %s cannot be opened so: %w", s.opts.Dir, errReplica)
	}
	s.conf = r.Apply(s.conf)
	s.opts.Log = s.opts.Log.With(slog.String("replica", r.Name))
	return nil
}
