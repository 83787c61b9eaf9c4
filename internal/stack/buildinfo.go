package stack

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// tellBuild tells dashboards of an upstream server, by the name of its metric, what
// runs in its place: version, and revision and time of the source that it was built
// from, as far as the program knows.
func (b *builder) tellBuild(server string) {
	revision, built := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value
			case "vcs.time":
				built = s.Value
			}
		}
	}
	b.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: server, Name: "build_info",
		Help: "Constant 1, by what serves in the place of " + server + ".",
		ConstLabels: prometheus.Labels{
			"version": b.opts.Version, "revision": revision, "build_date": built, "goversion": runtime.Version(),
		},
	}, func() float64 { return 1 }))
}
