package stack

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/fleet"
)

// ReplicaStatus is what a replica knows of itself and of the others.
type ReplicaStatus struct {
	Name    string `json:"name"`
	Leader  string `json:"leader"` // "": nobody leads
	Leading bool   `json:"leading"`
	Term    int64  `json:"term"` // counts leaders
	// Revision is the newest of the files that all have, Applied the one that this
	// process works with.
	Revision int64 `json:"revision"`
	Applied  int64 `json:"applied"`
	Fenced   bool  `json:"fenced"`            // it signs nothing: it has lost touch with the others
	Removed  bool  `json:"removed,omitempty"` // somebody has taken it out
	// Others is null if the database does not answer.
	Others []OtherReplica `json:"others"`
}

// OtherReplica is another one of the fleet.
type OtherReplica struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Alive   bool   `json:"alive"`
	Leads   bool   `json:"leads"`
	Applied int64  `json:"applied"` // revision of the files that it works with
	// Seconds are the age of its last sign of life by the database's clock; null: none
	// yet, or it was stopped.
	Seconds *float64 `json:"seconds_since_sign_of_life"`
}

// othersWithin bounds the wait for the database when somebody asks for the status.
const othersWithin = 2 * time.Second

// replicaStatus is nil for a stack that runs alone.
func (s *Stack) replicaStatus() *ReplicaStatus {
	m := s.opts.member
	if m == nil {
		return nil
	}
	st := m.fleet.State()
	out := &ReplicaStatus{
		Name: st.Name, Leader: st.Leader, Leading: st.Leading, Term: st.Term,
		Revision: st.Revision, Applied: st.Applied, Fenced: st.Fenced, Removed: st.Removed,
	}
	ctx, cancel := context.WithTimeout(context.Background(), othersWithin)
	defer cancel()
	all, err := m.fleet.Replicas(ctx)
	if err != nil {
		return out // readiness says why
	}
	out.Others = []OtherReplica{}
	for _, r := range all {
		if r.Name != st.Name {
			out.Others = append(out.Others, otherReplica(r))
		}
	}
	return out
}

func otherReplica(r fleet.Replica) OtherReplica {
	out := OtherReplica{Name: r.Name, Address: r.Address, Alive: r.Alive, Leads: r.Leads && r.Alive, Applied: r.Applied}
	if r.Seen.Unix() > 0 {
		seconds := r.Age.Seconds()
		out.Seconds = &seconds
	}
	return out
}

// replicaMetrics are those of a replica.
type replicaMetrics struct {
	leads, fenced, term prometheus.Gauge
	revision, age       *prometheus.GaugeVec
	alive               prometheus.Gauge
}

func newReplicaMetrics(to prometheus.Registerer) *replicaMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &replicaMetrics{
		leads:  gauge("sigstack_replica_leads", "Whether this replica leads (1) or not (0)."),
		fenced: gauge("sigstack_replica_fenced", "Whether this replica may not sign (1), since it has lost touch with the others."),
		term:   gauge("sigstack_replica_term", "How many leaders there have been, as far as this replica knows."),
		alive:  gauge("sigstack_replicas_alive", "Replicas that gave a sign of life within their lease, this one included."),
		revision: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sigstack_replica_revision", Help: "Revision of the common files: the newest, and the one that this replica works with.",
		}, []string{"which"}),
		age: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sigstack_replica_sign_of_life_seconds", Help: "Age of the last sign of life of each replica; a stopped one has none.",
		}, []string{"replica"}),
	}
	to.MustRegister(m.leads, m.fenced, m.term, m.alive, m.revision, m.age)
	return m
}

// countEvery is the time between two looks at the other replicas.
const countEvery = 5 * time.Second

// countReplicas keeps the metrics up to date.
func (s *Stack) countReplicas(ctx context.Context) error {
	f, metrics := s.opts.member.fleet, newReplicaMetrics(s.metrics)
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		changed := f.Changed()
		metrics.set(f.State())
		select {
		case <-changed:
		case <-next.C:
			if all, err := f.Replicas(ctx); err == nil {
				metrics.count(all)
			}
			next.Reset(countEvery)
		case <-ctx.Done():
			return nil
		}
	}
}

func (m *replicaMetrics) set(st fleet.State) {
	flag := func(g prometheus.Gauge, is bool) {
		g.Set(0)
		if is {
			g.Set(1)
		}
	}
	flag(m.leads, st.Leading)
	flag(m.fenced, st.Fenced)
	m.term.Set(float64(st.Term))
	m.revision.WithLabelValues("newest").Set(float64(st.Revision))
	m.revision.WithLabelValues("applied").Set(float64(st.Applied))
}

func (m *replicaMetrics) count(all []fleet.Replica) {
	m.age.Reset() // of those that were removed
	alive := 0
	for _, r := range all {
		if r.Alive {
			alive++
		}
		if r.Seen.Unix() > 0 {
			m.age.WithLabelValues(r.Name).Set(r.Age.Seconds())
		}
	}
	m.alive.Set(float64(alive))
}
