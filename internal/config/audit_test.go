package config_test

import (
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
)

func TestAudit(t *testing.T) {
	const head = "version: 1\nprofile: up\nurl: http://localhost:8080\nlisten: 127.0.0.1:8080\ntsa:\n  key: tsa\n  chain: x\naudit:\n  "
	chain := "chain: " + strings.Repeat("0a", 32)
	for _, tt := range []struct {
		name, section, problem string
		every                  time.Duration
	}{
		{"key alone", "key: audit", "", time.Hour},
		{"all", "key: audit\n  " + chain + "\n  anchor_every: 90m", "", 90 * time.Minute},
		{"no key", "anchor_every: 1h", "audit.key", 0},
		{"chain cut short", "key: audit\n  chain: 0a0a", "audit.chain", 0},
		{"chain in upper case", "key: audit\n  chain: " + strings.Repeat("0A", 32), "audit.chain", 0},
		{"interval without unit", "key: audit\n  anchor_every: 3600", "audit.anchor_every", 0},
		{"interval too short", "key: audit\n  anchor_every: 59s", "audit.anchor_every", 0},
		{"interval too long", "key: audit\n  anchor_every: 721h", "audit.anchor_every", 0},
		{"interval below zero", "key: audit\n  anchor_every: -1h", "audit.anchor_every", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.Parse([]byte(head + tt.section + "\n"))
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) {
					t.Errorf("got %v, want a problem of %s", err, tt.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Audit.Interval(); got != tt.every {
				t.Errorf("interval: got %v, want %v", got, tt.every)
			}
		})
	}
}
