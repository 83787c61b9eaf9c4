package merkle

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"k8s.io/klog/v2"
)

// RouteKlog sends what Trillian logs, through its process-wide klog, to log:
// errors as such, all else at debug (klog hands warnings on as info). The
// composition root calls it before any tree is opened; the last call counts.
func RouteKlog(log *slog.Logger) {
	h := log.Handler()
	klogSink().Store(&h)
}

// klogSink is where klog's records go. It is given to klog once: that is not safe
// while another stack of the process logs.
var klogSink = sync.OnceValue(func() *atomic.Pointer[slog.Handler] {
	sink, discard := new(atomic.Pointer[slog.Handler]), slog.DiscardHandler
	sink.Store(&discard)
	klog.SetSlogLogger(slog.New(demoted{current{sink}}))
	return sink
})

// current hands records to the sink of the moment.
type current struct{ sink *atomic.Pointer[slog.Handler] }

func (c current) Enabled(ctx context.Context, l slog.Level) bool {
	return (*c.sink.Load()).Enabled(ctx, l)
}

func (c current) Handle(ctx context.Context, r slog.Record) error {
	return (*c.sink.Load()).Handle(ctx, r)
}

func (c current) WithAttrs(attrs []slog.Attr) slog.Handler { return (*c.sink.Load()).WithAttrs(attrs) }

func (c current) WithGroup(name string) slog.Handler { return (*c.sink.Load()).WithGroup(name) }

// demoted turns records below warning into debug ones.
type demoted struct{ slog.Handler }

func (d demoted) level(l slog.Level) slog.Level {
	if l < slog.LevelWarn {
		return slog.LevelDebug
	}
	return l
}

func (d demoted) Enabled(ctx context.Context, l slog.Level) bool {
	return d.Handler.Enabled(ctx, d.level(l))
}

func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = d.level(r.Level)
	return d.Handler.Handle(ctx, r)
}

func (d demoted) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demoted{d.Handler.WithAttrs(attrs)}
}

func (d demoted) WithGroup(name string) slog.Handler { return demoted{d.Handler.WithGroup(name)} }
