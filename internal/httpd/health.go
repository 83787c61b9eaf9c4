package httpd

import (
	"net/http"

	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"sigstack/internal/fault"
)

// maxCheck is the most bytes of a question after health.
const maxCheck = 1 << 10

// Alias gives a service another name, such as its one in gRPC, for those who ask
// after its health there.
func (r *Readiness) Alias(name, service string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.aliases[name] = service
}

// check answers Check (grpc: doc/health-checking.md): for a service by its name,
// for all without one. A warning serves.
func (r *Readiness) check(_ *http.Request, message []byte) ([]byte, error) {
	var req health.HealthCheckRequest
	if err := proto.Unmarshal(message, &req); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "request message is malformed")
	}
	status, ok := r.statusOf(req.GetService())
	if !ok {
		return nil, fault.New(fault.NotFound, "no such service in this process")
	}
	answer := health.HealthCheckResponse{Status: health.HealthCheckResponse_SERVING}
	if status == Down {
		answer.Status = health.HealthCheckResponse_NOT_SERVING
	}
	return proto.Marshal(&answer)
}

func (r *Readiness) statusOf(name string) (s Status, known bool) {
	rep := r.Report()
	if name == "" {
		return rep.Status, true
	}
	r.mu.Lock()
	if service, ok := r.aliases[name]; ok {
		name = service
	}
	r.mu.Unlock()
	service, ok := rep.Services[name]
	return service.Status, ok
}
