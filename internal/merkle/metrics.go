package merkle

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one tree, labelled with its name.
type metrics struct {
	added, duplicates, refused, failed, headFileFailed prometheus.Counter
	queued, commit                                     prometheus.Histogram
}

// newMetrics registers the metrics of t, unless r is nil.
func newMetrics(r prometheus.Registerer, t *Tree) (*metrics, error) {
	labels := prometheus.Labels{"log": t.tree.DisplayName}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "sigstack", Subsystem: "merkle", Name: name, Help: help, ConstLabels: labels,
		})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "sigstack", Subsystem: "merkle", Name: name, Help: help, ConstLabels: labels, Buckets: buckets,
		})
	}
	gauge := func(name, help string, f func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "sigstack", Subsystem: "merkle", Name: name, Help: help, ConstLabels: labels,
		}, f)
	}
	m := &metrics{
		added:          counter("adds_total", "Entries added, without duplicates."),
		duplicates:     counter("duplicates_total", "Adds answered with an entry that was there already."),
		refused:        counter("refused_total", "Adds refused because the queue was full."),
		failed:         counter("failed_batches_total", "Batches that could not be committed."),
		headFileFailed: counter("head_file_failures_total", "Failed writes of the head file."),
		queued:         histogram("batch_size", "Leaves taken from the queue at once.", prometheus.ExponentialBuckets(1, 2, 11)),
		commit:         histogram("commit_seconds", "Time to integrate and durably commit a batch.", prometheus.ExponentialBuckets(0.0001, 2, 16)),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.added, m.duplicates, m.refused, m.failed, m.headFileFailed, m.queued, m.commit,
		gauge("queue_depth", "Leaves waiting for the next batch.", func() float64 { return float64(len(t.queue)) }),
		gauge("queue_bytes", "Bytes of leaves waiting for the next batch.", func() float64 { return float64(t.waiting.Load()) }),
		gauge("node_cache_bytes", "Bytes of nodes in memory, of all trees that share them.", func() float64 { return float64(t.nodes.Bytes()) }),
		gauge("tree_size", "Entries in the newest root.", func() float64 { return float64(t.Head().Size) }),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}
