package httpd

import (
	"maps"
	"net/http"
	"slices"
	"sync"

	"sigstack/internal/fault"
)

// Status is the health of a service or of the whole stack.
type Status string

// The statuses, best first.
const (
	OK   Status = "ok"
	Warn Status = "warn" // serves, but needs an operator's attention
	Down Status = "down"
)

// ServiceStatus is one service's health and the reason for it.
type ServiceStatus struct {
	Status Status `json:"status"`
	Detail string `json:"detail"`
}

// Report is the body of /readyz.
type Report struct {
	Status   Status                   `json:"status"` // the worst of all services
	Services map[string]ServiceStatus `json:"services"`
}

// Readiness holds the health of every service. It is safe for concurrent use.
type Readiness struct {
	mu       sync.Mutex
	services map[string]map[string]ServiceStatus // guarded by mu: by service and part
	aliases  map[string]string                   // guarded by mu: services by other names
	leaving  bool                                // guarded by mu: the process is about to stop
}

// Stopping is the detail of every service of a process that is about to stop.
const Stopping = "stopping"

// NewReadiness returns a Readiness in which every named service is down,
// starting: nothing is ready until it says so.
func NewReadiness(services ...string) *Readiness {
	r := &Readiness{services: map[string]map[string]ServiceStatus{}, aliases: map[string]string{}}
	for _, s := range services {
		r.Set(s, Down, "starting")
	}
	return r
}

// Set records a service's health.
func (r *Readiness) Set(service string, s Status, detail string) { r.SetPart(service, "", s, detail) }

// SetPart records the health of something that a service needs, such as a key.
// The service is as well as the worst of its parts and itself.
func (r *Readiness) SetPart(service, part string, s Status, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.services[service] == nil {
		r.services[service] = map[string]ServiceStatus{}
	}
	r.services[service][part] = ServiceStatus{s, detail}
}

// Leave says that the process is about to stop: whatever else is told, from now on
// everything is down, so that balancers go elsewhere while requests are answered
// still.
func (r *Readiness) Leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaving = true
}

// Left reports whether the process is about to stop.
func (r *Readiness) Left() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leaving
}

// Report returns the present state.
func (r *Readiness) Report() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := Report{OK, map[string]ServiceStatus{}}
	for name, parts := range r.services {
		s := worstPart(parts)
		if r.leaving {
			s = ServiceStatus{Down, Stopping}
		}
		rep.Services[name] = s
		rep.Status = worse(rep.Status, s.Status)
	}
	return rep
}

// worstPart returns the service's own status unless a part is worse; of parts
// that are alike, the first by name.
func worstPart(parts map[string]ServiceStatus) ServiceStatus {
	names := slices.Sorted(maps.Keys(parts))
	worst := parts[names[0]]
	for _, name := range names[1:] {
		if s := parts[name]; worse(worst.Status, s.Status) != worst.Status {
			worst = s
		}
	}
	return worst
}

func worse(a, b Status) Status {
	if a == Down || b == Down {
		return Down
	}
	if a == Warn || b == Warn {
		return Warn
	}
	return OK
}

// Mount adds /healthz (the process lives), /readyz (503 while any service is
// down) and /readyz/{service} (the same for one, for balancers), and for gRPC
// Check of grpc.health.v1.Health, which tells as much as /readyz.
func (r *Readiness) Mount(m *Mux) {
	g := m.Group("health", RESTErrors).As(Public)
	g.Handle(http.MethodGet, "/healthz", 0, func(w http.ResponseWriter, _ *http.Request) error {
		return WriteJSON(w, http.StatusOK, map[string]string{"status": "SERVING"})
	})
	g.Handle(http.MethodGet, "/readyz", 0, func(w http.ResponseWriter, _ *http.Request) error {
		rep := r.Report()
		return WriteJSON(w, readyCode(rep.Status), rep)
	})
	g.Handle(http.MethodGet, "/readyz/{service}", 0, func(w http.ResponseWriter, req *http.Request) error {
		s, ok := r.Report().Services[req.PathValue("service")]
		if !ok {
			return fault.New(fault.NotFound, "no such service in this process")
		}
		return WriteJSON(w, readyCode(s.Status), s)
	})
	g.HandleGRPC("grpc.health.v1.Health", "Check", maxCheck, r.check)
}

func readyCode(s Status) int {
	if s == Down {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}
