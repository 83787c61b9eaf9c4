package tlsconf_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sigstack/internal/pki"
)

// TestIssued: the names, addresses and life of what the internal authority
// certifies, as clients judge it.
func TestIssued(t *testing.T) {
	for _, h := range []string{host, "localhost", "192.0.2.7", "2001:db8::7", "127.0.0.1"} {
		cfg, _ := config(t)
		cfg.Host, cfg.Authority = h, internal(t, h, time.Now().Add(-time.Hour))
		s := newSource(t, cfg)
		roots := x509.NewCertPool()
		roots.AddCert(s.Authorities()[0])
		for _, name := range []string{h, "localhost", "127.0.0.1", "::1"} {
			if _, err := shake(t, s.ServerConfig(), &tls.Config{RootCAs: roots, ServerName: name}); err != nil {
				t.Errorf("stack %s asked as %s: %v", h, name, err)
			}
		}
		if _, err := shake(t, s.ServerConfig(), &tls.Config{RootCAs: roots, ServerName: "elsewhere.test"}); err == nil {
			t.Errorf("stack %s is elsewhere.test too", h)
		}
		chain := s.Chain()
		if life := chain[0].NotAfter.Sub(chain[0].NotBefore); len(chain) != 2 || life != pki.TLSLeafLifetime {
			t.Errorf("stack %s: %d certificates, life %v", h, len(chain), life)
		}
	}
}

// TestNameConstraints: what the authority's key certifies beyond its host is
// worth nothing, to Go and to OpenSSL.
func TestNameConstraints(t *testing.T) {
	a := internal(t, host, time.Now().Add(-time.Hour))
	issuer := authority{a.Chain[0], a.Signer}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "root.pem"), pemCertificates(a.Chain[1]))
	write(t, filepath.Join(dir, "ca.pem"), pemCertificates(a.Chain[0]))
	roots, inter := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(a.Chain[1])
	inter.AddCert(a.Chain[0])
	for _, tt := range []struct {
		name   string
		change func(*x509.Certificate)
		want   bool
	}{
		{"its host", func(*x509.Certificate) {}, true},
		{"below its host", func(c *x509.Certificate) { c.DNSNames = []string{"a." + host} }, true},
		{"localhost", func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} }, true},
		{"loopback", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 1, 2, 3), net.IPv6loopback} }, true},
		{"another host", func(c *x509.Certificate) { c.DNSNames = []string{"bank.example"} }, false},
		{"another host besides", func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "bank.example") }, false},
		{"a longer name", func(c *x509.Certificate) { c.DNSNames = []string{"my" + host} }, false},
		{"every host", func(c *x509.Certificate) { c.DNSNames = []string{"*.test"} }, false},
		{"another address", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)} }, false},
		{"another address, IPv6", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("2001:db8::1")} }, false},
	} {
		leaf := issuer.issue(t, newKey(t), tt.change)
		path := filepath.Join(dir, "leaf.pem")
		write(t, path, leaf)
		certs, err := pki.ParseCertificatesPEM(leaf)
		if err != nil {
			t.Fatal(err)
		}
		_, err = certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: inter})
		if (err == nil) != tt.want {
			t.Errorf("%s: Go says %v, want good: %v", tt.name, err, tt.want)
		}
		cmd := exec.CommandContext(t.Context(), "openssl", "verify", "-purpose", "sslserver", "-CAfile", "root.pem", "-untrusted", "ca.pem", "leaf.pem")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if (err == nil) != tt.want {
			t.Errorf("%s: OpenSSL says %v, want good: %v\n%s", tt.name, err, tt.want, out)
		}
	}
}

// TestPathLength: an authority below it is none.
func TestPathLength(t *testing.T) {
	a := internal(t, host, time.Now().Add(-time.Hour))
	key := newKey(t)
	sub, err := pki.ParseCertificatesPEM(authority{a.Chain[0], a.Signer}.issue(t, key, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	}))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := pki.ParseCertificatesPEM(authority{sub[0], key}.issue(t, newKey(t), nil))
	if err != nil {
		t.Fatal(err)
	}
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	opts.Roots.AddCert(a.Chain[1])
	opts.Intermediates.AddCert(a.Chain[0])
	opts.Intermediates.AddCert(sub[0])
	if _, err := leaf[0].Verify(opts); err == nil || !strings.Contains(err.Error(), "too many intermediates") {
		t.Errorf("got %v, want the path length to be kept", err)
	}
}

// TestRenewal runs a server for years, until its authority ends.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, logged := config(t)
		registry := prometheus.NewRegistry()
		cfg.Authority, cfg.Interval, cfg.Metrics = internal(t, host, time.Now().Add(-time.Hour)), time.Hour, registry
		s := newSource(t, cfg)
		run(t, s)
		end := cfg.Authority.Chain[0].NotAfter
		last, renewals := serial(s), 0
		var lastEnd time.Time
		for time.Now().Before(end.Add(-25 * time.Hour)) {
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			leaf := s.Chain()[0]
			left := time.Until(leaf.NotAfter)
			if leaf.NotAfter.After(end) || left < 0 || left < 10*24*time.Hour-time.Hour && leaf.NotAfter.Before(end) {
				t.Fatalf("%v: certificate until %v, authority until %v", time.Now(), leaf.NotAfter, end)
			}
			if leaf.SerialNumber.Cmp(last) != 0 {
				if lastEnd.Equal(end) {
					t.Fatalf("%v: renewed for nothing, the authority ends at %v", time.Now(), end)
				}
				last, lastEnd = leaf.SerialNumber, leaf.NotAfter
				renewals++
			}
		}
		if renewals < 52 || renewals > 56 {
			t.Errorf("%d renewals in three years, want one in 20 days", renewals)
		}
		if h := s.Health(); h.OK || !strings.HasPrefix(h.Detail, "internal authority ends at") || logged.count("nears its end") != 2 {
			t.Errorf("health %+v a day before the authority's end, warned %d times", h, logged.count("nears its end"))
		}
		time.Sleep(3 * 24 * time.Hour)
		synctest.Wait()
		if h := s.Health(); h.OK || !strings.HasPrefix(h.Detail, "internal authority expired at") {
			t.Errorf("health %+v after the authority's end", h)
		}
		if left := gauge(t, registry, "authority"); left > 0 || left < -3*24*3600 {
			t.Errorf("metric says %v seconds, want just below zero", left)
		}
		if err := s.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("reload: got %v, want that the authority expired", err)
		}
	})
}

func gauge(t *testing.T, g prometheus.Gatherer, which string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "sigstack_tls_expiry_seconds" && m.GetLabel()[0].GetValue() == which {
				return m.GetGauge().GetValue()
			}
		}
	}
	problems, err := testutil.GatherAndLint(g)
	t.Fatalf("no metric for %s: %v %v", which, problems, err)
	return 0
}

// TestClockSetBack: a certificate of the future is no use.
func TestClockSetBack(t *testing.T) {
	cfg, _ := config(t)
	var ahead atomic.Int64
	ahead.Store(int64(24 * time.Hour))
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	cfg.Authority = internal(t, host, time.Now().Add(-time.Hour))
	s := newSource(t, cfg)
	run(t, s)
	before := serial(s)
	ahead.Store(0)
	eventually(t, "a certificate of today", func() bool { return serial(s).Cmp(before) != 0 })
	roots := x509.NewCertPool()
	roots.AddCert(s.Authorities()[0])
	if _, err := shake(t, s.ServerConfig(), &tls.Config{RootCAs: roots, ServerName: host}); err != nil {
		t.Error(err)
	}
}

// TestSignerFails: a device that is away costs nothing while the certificate
// lasts, and renewal comes when it is back.
func TestSignerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, logged := config(t)
		cfg.Authority, cfg.Interval = internal(t, host, time.Now().Add(-time.Hour)), time.Hour
		device := &device{Signer: cfg.Authority.Signer}
		cfg.Authority.Signer = device
		s := newSource(t, cfg)
		run(t, s)
		before := serial(s)
		device.away.Store(true)
		time.Sleep(21 * 24 * time.Hour)
		synctest.Wait()
		if h := s.Health(); h.OK || !strings.HasPrefix(h.Detail, "certificate was not renewed") || serial(s).Cmp(before) != 0 {
			t.Errorf("health %+v without a device, want a warning and the old certificate", h)
		}
		if n := logged.count("token is away"); n != 1 {
			t.Errorf("logged %d times, want once", n)
		}
		device.away.Store(false)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if h := s.Health(); !h.OK || serial(s).Cmp(before) == 0 {
			t.Errorf("health %+v with the device back, want a new certificate", h)
		}
	})
}

type device struct {
	crypto.Signer
	away atomic.Bool
}

func (d *device) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if d.away.Load() {
		return nil, errors.New("token is away")
	}
	return d.Signer.Sign(random, digest, opts)
}

// TestReloadIssues: an operator's reload renews at once.
func TestReloadIssues(t *testing.T) {
	cfg, _ := config(t)
	cfg.Authority = internal(t, host, time.Now().Add(-time.Hour))
	s := newSource(t, cfg)
	before := serial(s)
	if err := s.Reload(t.Context()); err != nil || serial(s).Cmp(before) == 0 {
		t.Errorf("reload: %v, want a new certificate", err)
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".key") || strings.HasSuffix(e.Name(), ".pem") {
			t.Errorf("%s was written; the key stays in memory", e.Name())
		}
	}
}
