package signing

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// countingAuthority trusts every certificate until its end.
type countingAuthority struct {
	until time.Time
	asked int
}

func (a *countingAuthority) Verify(cert *x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	a.asked++
	if at.After(a.until) {
		return nil, errors.New("too late")
	}
	return [][]*x509.Certificate{{cert}}, nil
}

type authorities struct {
	root.BaseTrustedMaterial
	all []root.CertificateAuthority
}

func (a *authorities) FulcioCertificateAuthorities() []root.CertificateAuthority { return a.all }

func TestAChainIsRememberedForItsMoment(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	short, long := &countingAuthority{until: now}, &countingAuthority{until: now.Add(time.Hour)}
	m := rememberingMaterial{&authorities{all: []root.CertificateAuthority{short, long}}, new(memo)}
	a, b := &x509.Certificate{Raw: []byte("a")}, &x509.Certificate{Raw: []byte("b")}

	ask := func(authority int, cert *x509.Certificate, at time.Time, want bool) {
		t.Helper()
		chains, err := m.FulcioCertificateAuthorities()[authority].Verify(cert, at)
		if (err == nil) != want {
			t.Errorf("authority %d at %v: got %v, want trusted %t", authority, at, err, want)
		}
		if want && string(chains[0][0].Raw) != string(cert.Raw) {
			t.Errorf("got the chain of %q, want that of %q", chains[0][0].Raw, cert.Raw)
		}
	}
	for range 3 {
		ask(0, a, now, true)
		ask(0, b, now, true)
		ask(0, a, now.Add(time.Nanosecond), false) // never remembered
		ask(1, a, now.Add(time.Nanosecond), true)
	}
	if want := 2 + 3; short.asked != want {
		t.Errorf("the first authority was asked %d times, want %d", short.asked, want)
	}
	if long.asked != 1 {
		t.Errorf("the second authority was asked %d times, want once", long.asked)
	}
}

func TestAMemoIsBounded(t *testing.T) {
	var m memo
	for i := range 3 * maxProven {
		cert := &x509.Certificate{Raw: []byte{byte(i), byte(i >> 8)}}
		m.keepChain(chainAt{unixNanos: int64(i)}, nil)
		m.keepSCTs(cert)
		if !m.hasSCTs(cert) {
			t.Fatalf("certificate %d is not remembered", i)
		}
	}
	if len(m.chains) > maxProven || len(m.scts) > maxProven {
		t.Errorf("it remembers %d chains and the SCTs of %d certificates, want at most %d", len(m.chains), len(m.scts), maxProven)
	}
}
