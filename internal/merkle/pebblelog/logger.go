package pebblelog

import (
	"context"
	"fmt"
	"log/slog"
)

// logger passes Pebble's messages on: routine ones at debug.
type logger struct{ log *slog.Logger }

func newLogger(log *slog.Logger) logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return logger{log}
}

func (l logger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.DebugContext(context.Background(), "database", slog.String("detail", fmt.Sprintf(format, args...)))
	}
}

func (l logger) Errorf(format string, args ...any) {
	l.log.ErrorContext(context.Background(), "database error", slog.String("detail", fmt.Sprintf(format, args...)))
}

// Fatalf must not return: Pebble would go on as if the write had succeeded. In
// a committing goroutine the panic becomes ErrFailed; in a background one, where
// the manifest can no longer be trusted, it ends the process.
func (l logger) Fatalf(format string, args ...any) {
	detail := fmt.Sprintf(format, args...)
	l.log.ErrorContext(context.Background(), "database failed", slog.String("detail", detail))
	panic(detail)
}
