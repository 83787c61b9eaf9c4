package rekorv1

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
)

// newMeter counts requests by the names and labels of the upstream server (contract:
// rekor-v1.md §13), for its dashboards; latencies are in nanoseconds. Without a
// registry it counts nothing.
func newMeter(reg prometheus.Registerer) (httpd.Meter, error) {
	if reg == nil {
		return nil, nil
	}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rekor_qps_by_api",
		Help: "Requests to the transparency log, by path, method and status.",
	}, []string{"path", "method", "code"})
	byMethod := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "rekor_latency_by_api",
		Help:    "Nanoseconds to answer a request to the transparency log, by path and method.",
		Buckets: prometheus.ExponentialBucketsRange(float64(time.Millisecond), float64(time.Minute), 10),
	}, []string{"path", "method"})
	byCode := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "rekor_api_latency",
		Help:    "Nanoseconds to answer a request to the transparency log, by path and status.",
		Buckets: prometheus.ExponentialBucketsRange(float64(time.Millisecond), float64(time.Minute), 10),
	}, []string{"path", "code"})
	if err := errors.Join(reg.Register(requests), reg.Register(byMethod), reg.Register(byCode)); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return func(path, method string, status int, took time.Duration) {
		path = strings.Replace(path, "{id}", "{entryUUID}", 1) // as dashboards have it
		code, ns := strconv.Itoa(status), float64(took)
		requests.WithLabelValues(path, method, code).Inc()
		byMethod.WithLabelValues(path, method).Observe(ns)
		byCode.WithLabelValues(path, code).Observe(ns)
	}, nil
}
