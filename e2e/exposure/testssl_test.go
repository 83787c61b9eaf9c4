package exposure

import (
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigstack/e2e/e2etest"
)

// tolerated are findings of testssl that say nothing about our TLS, with the
// reason for each.
var tolerated = map[string]string{
	"cert_revocation":       "the internal CA revokes nothing: a leaf's key is in memory only, and gone with the process",
	"cert_expirationStatus": "leaves live for 30 days and are renewed by the process itself",
	"cert_notAfter":         "the same",
	"DNS_CAArecord":         "the scanned host is an address, which has no DNS records",
	"engine_problem":        "the scanning machine's openssl offers no GOST ciphers",
}

// checks are all of testssl's but those that only list what clients would get.
var checks = []string{
	"--quiet", "--color", "0", "--warnings", "off",
	"--protocols", "--std", "--fs", "--server-preference", "--server-defaults", "--header", "--vulnerable",
}

// fine are the severities that are no complaint.
var fine = []string{"OK", "INFO", "DEBUG"}

// TestTLSIsNotWeak lets testssl look at a fresh `serve`, TLS 1.3 only and with
// 1.2 allowed.
func TestTLSIsNotWeak(t *testing.T) {
	for _, version := range []string{"1.3", "1.2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := serve(t, version)
			report := filepath.Join(t.TempDir(), "testssl.json")
			said := scanner(t, s, "testssl", append(checks, "--add-ca", filepath.Join(s.dir, "client", "tls-ca.crt.pem"),
				"--jsonfile", report, "https://"+net.JoinHostPort(host, port))...)
			findings := parseReport(t, report, said)
			for _, f := range findings {
				if _, ok := tolerated[f.ID]; !ok && !slices.Contains(fine, f.Severity) {
					t.Errorf("%s: %s: %s", f.Severity, f.ID, f.Finding)
				}
			}
			// What a scan that did not reach the server would lack.
			for id, want := range map[string]string{
				"TLS1": "not offered", "TLS1_1": "not offered",
				"TLS1_2":     map[string]string{"1.3": "not offered", "1.2": "offered"}[version],
				"ALPN_HTTP2": "h2", "cert_chain_of_trust": "passed.", "HSTS_time": "",
			} {
				checkFinding(t, findings, id, want)
			}
		})
	}
}

// TestPeersTLSIsNotWeak lets testssl look at where the other replicas reach one: there
// TLS 1.3 alone is spoken, by keys that are pinned, and nobody is served without one. So
// checks of names, of who issued and of answers to HTTP have nothing to look at.
func TestPeersTLSIsNotWeak(t *testing.T) {
	if !e2etest.OnReplicas() {
		t.Skip("there are no replicas")
	}
	s := serve(t, "1.3")
	report := filepath.Join(t.TempDir(), "testssl.json")
	said := scanner(t, s, "testssl", "--quiet", "--color", "0", "--warnings", "off", "--protocols", "--std", "--fs", "--server-preference", "--vulnerable",
		"--jsonfile", report, "https://"+net.JoinHostPort(host, peerPort))
	findings := parseReport(t, report, said)
	for _, f := range findings {
		if _, ok := tolerated[f.ID]; !ok && !slices.Contains(fine, f.Severity) {
			t.Errorf("%s: %s: %s", f.Severity, f.ID, f.Finding)
		}
	}
	for id, want := range map[string]string{"TLS1": "not offered", "TLS1_1": "not offered", "TLS1_2": "not offered", "TLS1_3": "offered with final"} {
		checkFinding(t, findings, id, want)
	}
}

// TestScannerSeesWeakTLS: without it, the test above could pass because the
// scanner looks at nothing.
func TestScannerSeesWeakTLS(t *testing.T) {
	weak := httptest.NewUnstartedServer(http.NotFoundHandler())
	weak.TLS = &tls.Config{MinVersion: tls.VersionTLS10, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}
	weak.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug) // a scan consists of failed handshakes
	weak.StartTLS()
	t.Cleanup(weak.Close)
	report := filepath.Join(t.TempDir(), "testssl.json")
	said := scanner(t, nil, "testssl", "--quiet", "--color", "0", "--warnings", "off", "--protocols", "--jsonfile", report, weak.URL)
	if !slices.ContainsFunc(parseReport(t, report, said), func(f finding) bool { return f.ID == "TLS1" && !slices.Contains(fine, f.Severity) }) {
		t.Errorf("testssl does not complain about TLS 1.0:\n%s", said)
	}
}

// finding is one line of testssl's report.
type finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Finding  string `json:"finding"`
}

func parseReport(t *testing.T, path, said string) (out []finding) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("testssl wrote no report: %v\n%s", err, said)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("testssl's report: %v\n%s", err, data)
	}
	return out
}

// checkFinding demands that testssl found out about id, and what.
func checkFinding(t *testing.T, findings []finding, id, want string) {
	t.Helper()
	i := slices.IndexFunc(findings, func(f finding) bool { return f.ID == id })
	switch {
	case i < 0:
		t.Errorf("testssl says nothing about %s", id)
	case want != "" && findings[i].Finding != want:
		t.Errorf("%s: got %q, want %q", id, findings[i].Finding, want)
	}
}
