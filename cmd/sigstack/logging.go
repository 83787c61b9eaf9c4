package main

import (
	"io"
	"log/slog"

	"github.com/spf13/pflag"
)

// logFlags choose the server log of up, init and serve.
type logFlags struct{ level, format string }

// add defines the flags; level is the default one.
func (l *logFlags) add(f *pflag.FlagSet, level string) {
	f.StringVar(&l.level, "log-level", level, "least `level` to log on stderr: debug, info, warn or error")
	f.StringVar(&l.format, "log-format", "text", "log `format`: text or json")
}

func (l logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, usagef("--log-level %q: want debug, info, warn or error", l.level)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	default:
		return nil, usagef("--log-format %q: want text or json", l.format)
	}
}
