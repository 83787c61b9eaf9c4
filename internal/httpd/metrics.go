package httpd

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of every request, whatever service answered it.
type metrics struct {
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	calls    *calls
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sigstack_http_requests_total",
			Help: "Requests answered, by service, route, method and status.",
		}, []string{"service", "route", "method", "code"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sigstack_http_request_seconds",
			Help:    "Time to answer a request, by service and route.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15), // 0.5 ms to 8 s
		}, []string{"service", "route"}),
	}
	m.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sigstack_refused_total",
		Help: "Requests and connections refused for a limit or for want of credentials, by cause.",
	}, []string{"cause"})
	reg.MustRegister(m.requests, m.latency, m.refused)
	m.calls = newCalls(reg)
	return m
}

// observe counts one request. Labels come from the route table and closed sets,
// never from the request's own text.
func (m *metrics) observe(seen *observed, method string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		method = "other"
	}
	m.requests.WithLabelValues(seen.service, seen.route, method, strconv.Itoa(status)).Inc()
	m.latency.WithLabelValues(seen.service, seen.route).Observe(took.Seconds())
	if seen.meter != nil {
		seen.meter(seen.route, method, status, took)
	}
}
