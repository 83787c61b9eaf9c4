// Package faults breaks what a stack stands on while it is written to, and holds
// the log to every answer that it gave: processes that are killed, disks that are
// full, clocks that step. Broken disks and power cuts are tested where the disk can
// be taken apart, in internal/merkle and services/tlog/rekorv1.
package faults

import (
	"os"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }
