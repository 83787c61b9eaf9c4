package tlsconf_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/tlsconf"
)

// TestVersions: TLS 1.3 alone by default, 1.2 by choice, nothing older ever.
func TestVersions(t *testing.T) {
	ca := newAuthority(t)
	files := ca.files(t, nil)
	for _, tt := range []struct {
		server, client uint16
		want           bool
	}{
		{tls.VersionTLS13, tls.VersionTLS13, true},
		{tls.VersionTLS13, tls.VersionTLS12, false},
		{tls.VersionTLS12, tls.VersionTLS13, true},
		{tls.VersionTLS12, tls.VersionTLS12, true},
		{tls.VersionTLS12, tls.VersionTLS11, false},
		{tls.VersionTLS12, tls.VersionTLS10, false},
	} {
		cfg, _ := config(t)
		cfg.Files, cfg.MinVersion = &files, tt.server
		state, err := shake(t, newSource(t, cfg).ServerConfig(), &tls.Config{
			RootCAs: ca.pool(), ServerName: host, MinVersion: tls.VersionTLS10, MaxVersion: tt.client,
			NextProtos: []string{"h2"},
		})
		name := "least " + tls.VersionName(tt.server) + ", client " + tls.VersionName(tt.client)
		if (err == nil) != tt.want {
			t.Errorf("%s: got error %v, want success %v", name, err, tt.want)
		}
		if err == nil && (state.Version != tt.client || state.NegotiatedProtocol != "h2" || state.DidResume) {
			t.Errorf("%s: got %s, protocol %q", name, tls.VersionName(state.Version), state.NegotiatedProtocol)
		}
	}
	for _, version := range []uint16{0, tls.VersionTLS10, tls.VersionTLS11} {
		cfg, _ := config(t)
		cfg.Files, cfg.MinVersion = &files, version
		if _, err := tlsconf.New(cfg); err == nil || !strings.Contains(err.Error(), "want TLS 1.3 or 1.2") {
			t.Errorf("least version %#x: got %v, want a refusal", version, err)
		}
	}
}

// TestSuites offers every suite that Go has, one at a time.
func TestSuites(t *testing.T) {
	ca := newAuthority(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecdsaFiles, rsaFiles := ca.files(t, nil), ca.files(t, nil)
	write(t, rsaFiles.Certificate, ca.issue(t, rsaKey, nil))
	write(t, rsaFiles.Key, keyPEM(t, rsaKey))
	good := map[string]int{}
	for _, files := range []tlsconf.Files{ecdsaFiles, rsaFiles} {
		cfg, _ := config(t)
		cfg.Files, cfg.MinVersion = &files, tls.VersionTLS12
		server := newSource(t, cfg).ServerConfig()
		for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			if slices.Contains(suite.SupportedVersions, tls.VersionTLS13) {
				continue
			}
			_, err := shake(t, server, &tls.Config{
				RootCAs: ca.pool(), ServerName: host, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID},
			})
			strong := strings.HasPrefix(suite.Name, "TLS_ECDHE_") && (strings.Contains(suite.Name, "_GCM_") || strings.Contains(suite.Name, "POLY1305"))
			if err == nil && !strong {
				t.Errorf("%s was accepted", suite.Name)
			}
			if err == nil {
				good[suite.Name]++
			}
		}
	}
	if len(good) != 6 {
		t.Errorf("accepted %v, want the six with ECDHE and authenticated encryption", good)
	}
}

// TestNoResumption: a ticket would outlive what it was given for.
func TestNoResumption(t *testing.T) {
	ca := newAuthority(t)
	files := ca.files(t, nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg, _ := config(t)
		cfg.Files, cfg.MinVersion = &files, tls.VersionTLS12
		server := newSource(t, cfg).ServerConfig()
		client := &tls.Config{
			RootCAs: ca.pool(), ServerName: host, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4),
		}
		for range 3 {
			state, err := shake(t, server, client)
			if err != nil || state.DidResume {
				t.Errorf("%s: resumed %v, %v; want neither", tls.VersionName(version), state.DidResume, err)
			}
		}
	}
}

// TestClientCertificates: with authorities of clients a certificate is optional,
// and one of somebody else's ends the handshake.
func TestClientCertificates(t *testing.T) {
	ca, clients, strangers := newAuthority(t), newAuthority(t), newAuthority(t)
	files := ca.files(t, nil)
	cfg, logged := config(t)
	cfg.Files, cfg.ClientCA = &files, t.TempDir()+"/ca.pem"
	write(t, cfg.ClientCA, clients.issueCA(t))
	s := newSource(t, cfg)
	client := func(a authority, usage x509.ExtKeyUsage) *tls.Config {
		c := &tls.Config{RootCAs: ca.pool(), ServerName: host}
		key := newKey(t)
		chain := a.issue(t, key, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{usage} })
		pair, err := tls.X509KeyPair(chain, keyPEM(t, key))
		if err != nil {
			t.Fatal(err)
		}
		// As a client that shows what it has, whatever authorities the server names.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		return c
	}
	own, foreign := client(clients, x509.ExtKeyUsageClientAuth), client(strangers, x509.ExtKeyUsageClientAuth)
	wantShake := func(name string, c *tls.Config, want bool) {
		t.Helper()
		if _, err := shake(t, s.ServerConfig(), c); (err == nil) != want {
			t.Errorf("%s: got error %v, want success %v", name, err, want)
		}
	}
	wantShake("no certificate", &tls.Config{RootCAs: ca.pool(), ServerName: host}, true)
	wantShake("an own one", own, true)
	wantShake("a stranger's", foreign, false)
	wantShake("a server's", client(clients, x509.ExtKeyUsageServerAuth), false)

	// The file changes: the others' authority, then garbage, which changes nothing.
	run(t, s)
	write(t, cfg.ClientCA, strangers.issueCA(t))
	eventually(t, "new authorities of clients", func() bool { return logged.count("tls reloaded") == 1 })
	wantShake("an own one of before", own, false)
	wantShake("the stranger's", foreign, true)
	write(t, cfg.ClientCA, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n"))
	eventually(t, "a warning", func() bool { return !s.Health().OK })
	wantShake("the stranger's after garbage", foreign, true)
	if h := s.Health(); !strings.Contains(h.Detail, "client authorities were not taken") || logged.count("cut short") != 1 {
		t.Errorf("health %+v, logged %d times; want the reason, once", h, logged.count("cut short"))
	}
	leaf := clients.issue(t, newKey(t), nil)
	write(t, cfg.ClientCA, leaf)
	eventually(t, "a refusal of a leaf", func() bool { return logged.count("is not an authority's") > 0 })
}

// issueCA returns the authority's own certificate as PEM.
func (a authority) issueCA(tb testing.TB) []byte {
	tb.Helper()
	return pemCertificates(a.cert)
}

// TestNew says what is wrong with what it is given.
func TestNew(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skipf("a weak key cannot even be made: %v", err)
	}
	for _, tt := range []struct {
		name   string
		change func(*tlsconf.Config)
		want   string
	}{
		{"good", func(*tlsconf.Config) {}, ""},
		{"combined file", func(c *tlsconf.Config) {
			key := newKey(t)
			write(t, c.Files.Certificate, append(keyPEM(t, key), append([]byte("# leaf\n"), ca.issue(t, key, nil)...)...))
			c.Files.Key = c.Files.Certificate
		}, ""},
		{"for any use", func(c *tlsconf.Config) { ca.replace(t, *c.Files, func(x *x509.Certificate) { x.ExtKeyUsage = nil }) }, ""},
		{"missing", func(c *tlsconf.Config) { c.Files.Key += ".missing" }, "no such file"},
		{"a directory", func(c *tlsconf.Config) { c.Files.Key = t.TempDir() }, "not a regular file"},
		{"key of another", func(c *tlsconf.Config) { write(t, c.Files.Key, keyPEM(t, newKey(t))) }, "is not that of the first certificate"},
		{"no key", func(c *tlsconf.Config) { write(t, c.Files.Key, nil) }, "no PEM private key"},
		{"no certificate", func(c *tlsconf.Config) { write(t, c.Files.Certificate, nil) }, "no PEM certificate"},
		{"damaged between others", func(c *tlsconf.Config) {
			key := newKey(t)
			damaged := bytes.Replace(ca.issueCA(t), []byte("-----END"), []byte("----END"), 1)
			write(t, c.Files.Certificate, slices.Concat(ca.issue(t, key, nil), damaged, ca.issueCA(t)))
			write(t, c.Files.Key, keyPEM(t, key))
		}, "PEM block 2 is damaged"},
		{"weak key", func(c *tlsconf.Config) {
			write(t, c.Files.Certificate, ca.issue(t, weak, nil))
			write(t, c.Files.Key, keyPEM(t, weak))
		}, "too weak"},
		{"encrypted key", func(c *tlsconf.Config) {
			write(t, c.Files.Key, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
		}, "is encrypted"},
		{"other host", func(c *tlsconf.Config) { c.Host = "elsewhere.test" }, "not for the host of the URL"},
		{"expired", func(c *tlsconf.Config) {
			ca.replace(t, *c.Files, func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Minute) })
		}, "expired at"},
		{"not yet", func(c *tlsconf.Config) {
			ca.replace(t, *c.Files, func(x *x509.Certificate) { x.NotBefore = time.Now().Add(time.Hour) })
		}, "valid from"},
		{"a client's", func(c *tlsconf.Config) {
			ca.replace(t, *c.Files, func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
		}, "lacks serverAuth"},
		{"own authorities", func(c *tlsconf.Config) {
			c.Files.Authorities = t.TempDir() + "/ca.pem"
			write(t, c.Files.Authorities, ca.issueCA(t))
		}, ""},
		{"others' authorities", func(c *tlsconf.Config) {
			c.Files.Authorities = t.TempDir() + "/ca.pem"
			write(t, c.Files.Authorities, other.issueCA(t))
		}, "does not lead to the authorities"},
		{"neither", func(c *tlsconf.Config) { c.Files = nil }, "either files or an internal authority"},
		{"both", func(c *tlsconf.Config) { c.Authority = internal(t, host, time.Now()) }, "either files or an internal authority"},
		{"no client authorities", func(c *tlsconf.Config) { c.ClientCA = "/nonexistent" }, "authorities of clients"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _ := config(t)
			files := ca.files(t, nil)
			cfg.Files = &files
			tt.change(&cfg)
			_, err := tlsconf.New(cfg)
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestNamesOfIssuers: what two authorities of one name issue is told apart by
// signature.
func TestNamesOfIssuers(t *testing.T) {
	ca := newAuthority(t)
	twin := newAuthority(t)
	cfg, _ := config(t)
	files := ca.files(t, nil)
	files.Authorities = t.TempDir() + "/ca.pem"
	write(t, files.Authorities, ca.issueCA(t))
	cfg.Files = &files
	s := newSource(t, cfg)
	before := serial(s)
	twin.replace(t, files, nil)
	if err := s.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "does not lead to") {
		t.Errorf("reload: got %v, want a refusal", err)
	}
	if serial(s).Cmp(before) != 0 {
		t.Error("a certificate that leads nowhere was taken")
	}
}
