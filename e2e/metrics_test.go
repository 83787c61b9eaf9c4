package e2e

import (
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

// TestMetrics: what the contracts name (ca.md §12, rekor-v1.md §13) is counted by
// these names and labels, and docs/metrics.md has all that is counted.
func TestMetrics(t *testing.T) {
	s := e2etest.Start(t, filepath.Join(t.TempDir(), "stack"))
	blob := e2etest.WriteFile(t, t.TempDir(), "artifact", "counted")
	e2etest.MustRun(t, []string{s.TokenEnv(t)}, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), blob)
	if status, _, err := e2etest.Post(t.Context(), &http.Client{Transport: e2etest.Transport()}, s.URL+"/api/v2/signingCert", []byte("{}")); err != nil || status != http.StatusBadRequest {
		t.Fatalf("an empty request for a certificate: %d, %v", status, err)
	}
	if status, _ := e2etest.Get(t, s.URL+"/api/v1/log/entries/"+strings.Repeat("0", 64)); status != http.StatusNotFound {
		t.Fatalf("no such entry: %d", status)
	}
	served := map[string][]string{} // labels, by metric
	for _, service := range []string{"tuf", "ca", "tlog"} {
		maps.Copy(served, metricsOf(t, s, service))
	}
	for name, labels := range map[string]string{
		"fulcio_new_certs": "", "fulcio_api_latency": "code,method", "http_requests_total": "code,method",
		"fulcio_build_info":         "build_date,goversion,revision,version",
		"grpc_server_started_total": "grpc_method,grpc_service,grpc_type", "grpc_server_handled_total": "grpc_code,grpc_method,grpc_service,grpc_type",
		"grpc_server_msg_received_total": "grpc_method,grpc_service,grpc_type", "grpc_server_msg_sent_total": "grpc_method,grpc_service,grpc_type",
		"rekor_new_entries": "", "rekor_qps_by_api": "code,method,path", "rekor_latency_by_api": "method,path", "rekor_api_latency": "code,path",
		"rekor_index_storage_latency_summary": "success", "rekor_build_info": "build_date,goversion,revision,version",
	} {
		if got, ok := served[name]; !ok || strings.Join(got, ",") != labels {
			t.Errorf("%s has labels %q (there: %v), want %q", name, got, ok, labels)
		}
	}
	page := e2etest.ReadFile(t, "../docs/metrics.md")
	for name, labels := range served {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "sigstack_oidc_") {
			continue
		}
		row := regexp.MustCompile("(?m)^.*`" + name + "`.*$").FindString(page)
		if row == "" {
			t.Errorf("docs/metrics.md does not have %s", name)
		}
		for _, l := range labels {
			if !strings.Contains(row, "`"+l+"`") {
				t.Errorf("docs/metrics.md: %s has no label %s", name, l)
			}
		}
	}
}

var (
	sample = regexp.MustCompile(`^([a-z][a-z0-9_]*)(?:\{(.*)\})? `)
	label  = regexp.MustCompile(`([a-z_]+)="(?:[^"\\]|\\.)*"`)
)

// metricsOf are the metrics of the process with a service, with the names of their
// labels, sorted.
func metricsOf(t *testing.T, s *e2etest.Stack, service string) map[string][]string {
	t.Helper()
	address := strings.TrimSpace(e2etest.ReadFile(t, filepath.Join(s.ServiceDir(service), "run", "metrics")))
	scheme := e2etest.Scheme()
	if s.ServiceDir(service) != s.ServiceDir("tuf") {
		scheme = "http" // a process behind the front has TLS for the others of the stack alone
	}
	status, text := e2etest.Get(t, scheme+"://"+address+"/metrics")
	if status != http.StatusOK {
		t.Fatalf("metrics of %s: %d", service, status)
	}
	out, kinds := map[string][]string{}, map[string]string{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 4 && f[1] == "TYPE" {
			kinds[f[2]] = f[3]
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := m[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, suffix); ok && (kinds[base] == "histogram" || kinds[base] == "summary") {
				name = base
			}
		}
		labels := []string{}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" && l[1] != "quantile" {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		out[name] = labels
	}
	return out
}
