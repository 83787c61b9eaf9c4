package tlsconf_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/pki"
)

// TestOpenConnection: what was verified at the handshake is judged again at each
// request.
func TestOpenConnection(t *testing.T) {
	ca, clients, others := newAuthority(t), newAuthority(t), newAuthority(t)
	renewed := clients // the same key and name, in another certificate
	var err error
	if renewed.cert, err = pki.NewRoot(clients.key, clients.cert.Subject, time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	files := ca.files(t, nil)
	now := time.Now()
	cfg, _ := config(t)
	cfg.Files, cfg.ClientCA, cfg.Now = &files, t.TempDir()+"/ca.pem", func() time.Time { return now }
	key := newKey(t)
	leaf := clients.parse(t, clients.issue(t, key, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.NotAfter = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, now.Add(time.Hour)
	}))
	shown := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf, clients.cert}}}
	write(t, cfg.ClientCA, clients.issueCA(t))
	s := newSource(t, cfg)
	for _, step := range []struct {
		name  string
		file  []byte
		after time.Duration
		state *tls.ConnectionState
		want  bool
	}{
		{"as it began", clients.issueCA(t), 0, shown, true},
		{"nothing was verified", clients.issueCA(t), 0, &tls.ConnectionState{PeerCertificates: shown.PeerCertificates}, false},
		{"authority removed", others.issueCA(t), 0, shown, false},
		{"authority back, beside another", append(others.issueCA(t), clients.issueCA(t)...), 0, shown, true},
		{"authority renewed", renewed.issueCA(t), 0, shown, true},
		{"a second before the end", clients.issueCA(t), time.Hour - time.Second, shown, true},
		{"expired", clients.issueCA(t), time.Hour + time.Second, shown, false},
		{"expired, authority renewed", renewed.issueCA(t), time.Hour + time.Second, shown, false},
	} {
		write(t, cfg.ClientCA, step.file)
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(step.after)
		if got := s.StillGood(step.state); got != step.want {
			t.Errorf("%s: still good: %v, want %v", step.name, got, step.want)
		}
		now = now.Add(-step.after)
	}
	cfg.ClientCA, cfg.Metrics = "", prometheus.NewRegistry()
	if newSource(t, cfg).StillGood(shown) {
		t.Error("without authorities a client's certificate counts")
	}
}

func (a authority) parse(tb testing.TB, data []byte) *x509.Certificate {
	tb.Helper()
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}
