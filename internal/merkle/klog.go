package merkle

import (
	"context"
	"log/slog"

	"k8s.io/klog/v2"
)

// RouteKlog sends what Trillian logs, through its process-wide klog, to log:
// errors as such, all else at debug (klog hands warnings on as info). The
// composition root calls it once, before any tree is opened.
func RouteKlog(log *slog.Logger) {
	klog.SetSlogLogger(slog.New(demoted{log.Handler()}))
}

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
