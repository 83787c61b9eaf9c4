package exposure

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

// TestOnlyThePublicListenerAnswers scans every TCP port of a serving host from
// its own network, with what one process needs and with one listener more than
// it may have, which proves that the scan sees one.
func TestOnlyThePublicListenerAnswers(t *testing.T) {
	s := serve(t, "1.3")
	if got, want := s.scan(t), open(); !slices.Equal(got, want) {
		t.Errorf("open ports of a serving host: %v, want %v", got, want)
	}
	// The metrics listener is there, on loopback.
	metrics := strings.TrimSpace(e2etest.ReadFile(t, filepath.Join(s.dir, "run", "metrics")))
	if !strings.HasPrefix(metrics, "127.0.0.1:") {
		t.Errorf("metrics are on %s, want 127.0.0.1", metrics)
	}
	if out := scanner(t, s, "nmap", "-n", "-Pn", "-sT", "-p", strings.TrimPrefix(metrics, "127.0.0.1:"), "127.0.0.1"); !strings.Contains(out, "open") {
		t.Errorf("the scan does not see the metrics listener where it is:\n%s", out)
	}
}

// scan returns the open TCP ports of host.
func (s *served) scan(t *testing.T) []string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "nmap.xml")
	said := scanner(t, s, "nmap", "-n", "-Pn", "-sT", "-T5", "-p-", "--open", "-oX", out, host)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatalf("nmap wrote no report: %v\n%s", err, said)
	}
	var report struct {
		Hosts []struct {
			Ports []struct {
				ID    string `xml:"portid,attr"`
				State struct {
					State string `xml:"state,attr"`
				} `xml:"state"`
			} `xml:"ports>port"`
		} `xml:"host"`
	}
	if err := xml.Unmarshal(data, &report); err != nil {
		t.Fatalf("nmap's report: %v", err)
	}
	var open []string
	for _, h := range report.Hosts {
		for _, p := range h.Ports {
			if p.State.State == "open" {
				open = append(open, p.ID)
			}
		}
	}
	return open
}
