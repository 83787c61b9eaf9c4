// Package postgres runs whole stacks whose logs are in a real PostgreSQL: upstream's
// clients sign and verify, the database goes away under load and comes back, processes
// and servers are killed, and everything that was acknowledged has to be there.
package postgres

import (
	"os"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }
