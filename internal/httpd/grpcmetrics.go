package httpd

import (
	"github.com/prometheus/client_golang/prometheus"
)

// calls are the counters of gRPC, under the names that its servers have for them
// everywhere (contract: ca.md §12).
type calls struct {
	started, handled, received, sent *prometheus.CounterVec
}

// rpc is one method's share of them.
type rpc struct {
	started, received, sent prometheus.Counter
	handled                 *prometheus.CounterVec // by grpc_code
}

func newCalls(reg prometheus.Registerer) *calls {
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "grpc_server_" + name + "_total", Help: help},
			append([]string{"grpc_type", "grpc_service", "grpc_method"}, more...))
		reg.MustRegister(v)
		return v
	}
	return &calls{
		started:  counter("started", "Calls begun."),
		handled:  counter("handled", "Calls answered, by status.", "grpc_code"),
		received: counter("msg_received", "Messages received."),
		sent:     counter("msg_sent", "Messages sent."),
	}
}

// of returns a method's counters. Those that every call moves are there from the
// start, so that a method nobody has called shows as 0.
func (c *calls) of(service, method string) *rpc {
	labels := prometheus.Labels{"grpc_type": "unary", "grpc_service": service, "grpc_method": method}
	r := &rpc{
		started: c.started.With(labels), received: c.received.With(labels), sent: c.sent.With(labels),
		handled: c.handled.MustCurryWith(labels),
	}
	r.handled.WithLabelValues(codeNames[0])
	return r
}

// begin counts a call that reached its method, be it to be refused there.
func (r *rpc) begin() {
	if r != nil {
		r.started.Inc()
	}
}

// end counts how it ended.
func (r *rpc) end(err error) {
	if r == nil {
		return
	}
	code := 0
	if err != nil {
		code = callCode(err)
	}
	r.handled.WithLabelValues(codeNames[code]).Inc()
}

// codeNames are those of google.rpc.Code, by number.
var codeNames = [...]string{
	"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied", "ResourceExhausted",
	"FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
}
