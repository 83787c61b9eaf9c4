package pglog

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"sigstack/internal/fault"
)

// away gives an error that the database may be back from the kind fault.Unavailable:
// who asked may ask again. All else is as it was.
func away(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || !isAway(err) {
		return err
	}
	return fault.Wrap(fault.Unavailable, err, "the log's database does not answer; try again")
}

func isAway(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return awayCode(pg.Code)
	}
	if errors.As(err, new(*pgconn.ConnectError)) || errors.As(err, new(net.Error)) {
		return true
	}
	for _, ends := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed, context.DeadlineExceeded} {
		if errors.Is(err, ends) {
			return true
		}
	}
	return pgconn.Timeout(err)
}

// awayCode tells of an SQLSTATE: connections that fail, a lack of resources, and a
// server that is told to end something.
func awayCode(code string) bool {
	switch code {
	case "25P03", "25P04", "57014", "57P01", "57P02", "57P03", "57P05":
		return true
	}
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53")
}
