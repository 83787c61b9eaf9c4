package tlsconf_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/internal/pki"
	"sigstack/internal/tlsconf"
)

func pemCertificates(certs ...*x509.Certificate) []byte { return pki.CertificatesPEM(certs) }

// TestBadPairKeepsServing: whatever is written in place of a good pair, the good
// one stays, with one warning; and the next good one is taken.
func TestBadPairKeepsServing(t *testing.T) {
	ca := newAuthority(t)
	for _, tt := range []struct {
		name   string
		change func(f tlsconf.Files) // what is written in place of the pair
		logged string
	}{
		{"half a certificate", func(f tlsconf.Files) {
			data, err := os.ReadFile(f.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			write(t, f.Certificate, data[:len(data)/2])
		}, "damaged or cut short"},
		{"certificate without its key", func(f tlsconf.Files) { write(t, f.Certificate, ca.issue(t, newKey(t), nil)) }, "is not that of the first certificate"},
		{"key without its certificate", func(f tlsconf.Files) { write(t, f.Key, keyPEM(t, newKey(t))) }, "is not that of the first certificate"},
		{"garbage", func(f tlsconf.Files) { write(t, f.Key, []byte("garbage")) }, "no PEM private key"},
		{"expired", func(f tlsconf.Files) {
			ca.replace(t, f, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		}, "expired at"},
		{"other host", func(f tlsconf.Files) {
			ca.replace(t, f, func(c *x509.Certificate) { c.DNSNames = []string{"elsewhere.test"} })
		}, "not for the host"},
		{"gone", func(f tlsconf.Files) {
			if err := os.Remove(f.Key); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
		{"open to all", func(f tlsconf.Files) {
			if err := os.Chmod(f.Key, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "nothing for other users"},
		{"open to the group's pen", func(f tlsconf.Files) {
			if err := os.Chmod(f.Key, 0o660); err != nil {
				t.Fatal(err)
			}
		}, "no writing for the group"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := ca.files(t, nil)
				cfg, logged := config(t)
				var reports []tlsconf.Health
				cfg.Files, cfg.Interval = &files, time.Second
				cfg.Report = func(h tlsconf.Health) { reports = append(reports, h) }
				s := newSource(t, cfg)
				run(t, s)
				before := serial(s)
				tt.change(files)
				time.Sleep(time.Minute)
				synctest.Wait()
				if h := s.Health(); serial(s).Cmp(before) != 0 || h.OK || !strings.Contains(h.Detail, "certificate files were not taken") {
					t.Errorf("health %+v, certificate changed: %v; want the old one and a warning", h, serial(s).Cmp(before) != 0)
				}
				if n := logged.count(tt.logged); n != 1 {
					t.Errorf("%q was logged %d times in a minute, want once", tt.logged, n)
				}
				if err := s.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), tt.logged) {
					t.Errorf("reload: got %v, want %q", err, tt.logged)
				}
				if n := logged.count("tls reloaded"); n != 0 {
					t.Errorf("%d lines say that TLS was reloaded, which was refused", n)
				}
				if err := os.RemoveAll(files.Key); err != nil {
					t.Fatal(err)
				}
				ca.replace(t, files, nil)
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if h := s.Health(); serial(s).Cmp(before) == 0 || !h.OK {
					t.Errorf("health %+v after a good pair; want it taken", h)
				}
				if len(reports) != 3 || !reports[0].OK || reports[1].OK || !reports[2].OK {
					t.Errorf("reports %+v, want good, bad, good", reports)
				}
			})
		})
	}
}

// TestHalfWrittenIsNotTaken: a chain that is cut between two certificates looks
// whole; what still changes is not read.
func TestHalfWrittenIsNotTaken(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		files := ca.files(t, nil)
		cfg, logged := config(t)
		cfg.Files, cfg.Interval = &files, time.Second
		s := newSource(t, cfg)
		run(t, s)
		before := serial(s)
		time.Sleep(500 * time.Millisecond)
		key := newKey(t)
		leaf := ca.issue(t, key, nil)
		write(t, files.Key, keyPEM(t, key))
		write(t, files.Certificate, leaf)
		time.Sleep(time.Second) // one look
		write(t, files.Certificate, append(leaf, ca.issueCA(t)...))
		time.Sleep(time.Second)
		synctest.Wait()
		if serial(s).Cmp(before) != 0 {
			t.Errorf("took %d certificates at the first look", len(s.Chain()))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(s.Chain()); serial(s).Cmp(before) == 0 || n != 2 || logged.count("tls reloaded") != 1 {
			t.Errorf("%d certificates, loaded %d times; want the whole chain at once", n, logged.count("tls reloaded"))
		}
	})
}

// TestNotYetValidIsTakenLater: time may mend what was refused.
func TestNotYetValidIsTakenLater(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		files := ca.files(t, nil)
		cfg, _ := config(t)
		cfg.Files, cfg.Interval = &files, time.Second
		s := newSource(t, cfg)
		run(t, s)
		before := serial(s)
		ca.replace(t, files, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
		time.Sleep(50 * time.Minute)
		synctest.Wait()
		if serial(s).Cmp(before) != 0 || s.Health().OK {
			t.Error("a certificate of the future was taken")
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if serial(s).Cmp(before) == 0 || !s.Health().OK {
			t.Errorf("health %+v; want the certificate taken when its time came", s.Health())
		}
	})
}

// TestKubernetesSwap replaces a mounted secret as the kubelet does: a new
// directory, and one rename of the link ..data.
func TestKubernetesSwap(t *testing.T) {
	ca := newAuthority(t)
	mount := t.TempDir()
	swap := func(version int) {
		dir := fmt.Sprintf("..2026_%d", version)
		if err := os.Mkdir(filepath.Join(mount, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		f := tlsconf.Files{Certificate: filepath.Join(mount, dir, "tls.crt"), Key: filepath.Join(mount, dir, "tls.key")}
		ca.replace(t, f, nil)
		tmp := filepath.Join(mount, "..data_tmp")
		if err := errors.Join(os.Symlink(dir, tmp), os.Rename(tmp, filepath.Join(mount, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	swap(0)
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)); err != nil {
			t.Fatal(err)
		}
	}
	cfg, logged := config(t)
	cfg.Files = &tlsconf.Files{Certificate: filepath.Join(mount, "tls.crt"), Key: filepath.Join(mount, "tls.key")}
	s := newSource(t, cfg)
	run(t, s)
	for version := 1; version <= 5; version++ {
		before := serial(s)
		swap(version)
		eventually(t, "the new secret", func() bool { return serial(s).Cmp(before) != 0 })
		if err := os.RemoveAll(filepath.Join(mount, fmt.Sprintf("..2026_%d", version-1))); err != nil {
			t.Fatal(err)
		}
	}
	if n := logged.count("level=WARN"); n != 0 {
		t.Errorf("%d warnings about atomic swaps, want none:\n%s", n, logged.buf.String())
	}
}

// TestReloadUnderLoad changes the pair all the time while clients come and go.
func TestReloadUnderLoad(t *testing.T) {
	ca := newAuthority(t)
	files := ca.files(t, nil)
	cfg, _ := config(t)
	cfg.Files, cfg.Interval = &files, time.Millisecond
	s := newSource(t, cfg)
	run(t, s)
	l, err := tls.Listen("tcp", "127.0.0.1:0", s.ServerConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, l)
	go answer(l)

	var shaken atomic.Int64
	seen, stop := sync.Map{}, make(chan struct{})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: ca.pool(), ServerName: host})
				if err != nil {
					t.Errorf("handshake: %v", err)
					return
				}
				seen.Store(conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), true)
				shaken.Add(1)
				closed(t, conn)
			}
		})
	}
	eventually(t, "a client", func() bool { return shaken.Load() > 8 })
	for range 20 {
		before := serial(s)
		ca.replace(t, files, nil) // certificate first, and only then its key
		eventually(t, "the new pair", func() bool { return serial(s).Cmp(before) != 0 })
		handshakes := shaken.Load() // of the next eight some may have begun before
		eventually(t, "clients", func() bool { return shaken.Load() > handshakes+8 })
	}
	close(stop)
	clients.Wait()
	n := 0
	seen.Range(func(any, any) bool { n++; return true })
	if n != 21 {
		t.Errorf("clients saw %d certificates in %d handshakes, want all 21", n, shaken.Load())
	}
}

// answer shakes hands with everybody.
func answer(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			// The client reports a failure.
			_ = errors.Join(conn.(*tls.Conn).Handshake(), conn.Close())
		}()
	}
}

// TestExpiryIsReported follows an operator's certificate to its end.
func TestExpiryIsReported(t *testing.T) {
	ca := newAuthority(t)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		files := ca.files(t, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = start, start.Add(90*24*time.Hour) })
		cfg, logged := config(t)
		cfg.Files, cfg.Interval = &files, time.Hour
		s := newSource(t, cfg)
		run(t, s)
		for _, tt := range []struct {
			day    int
			ok     bool
			detail string
			logged int
		}{
			{59, true, "certificate until", 0},
			{61, true, "certificate until", 1},
			{80, true, "certificate until", 1},
			{82, false, "certificate ends at", 2},
			{91, false, "certificate expired at", 3},
		} {
			time.Sleep(time.Until(start.Add(time.Duration(tt.day) * 24 * time.Hour)))
			synctest.Wait()
			if h := s.Health(); h.OK != tt.ok || !strings.HasPrefix(h.Detail, tt.detail) {
				t.Errorf("day %d: health %+v, want %v %s…", tt.day, h, tt.ok, tt.detail)
			}
			if n := logged.count("nears its end"); n != tt.logged {
				t.Errorf("day %d: logged %d times, want %d", tt.day, n, tt.logged)
			}
		}
		ca.replace(t, files, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now(), time.Now().Add(90*24*time.Hour) })
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if h := s.Health(); !h.OK {
			t.Errorf("health %+v after a new certificate, want well", h)
		}
	})
}
