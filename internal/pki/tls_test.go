package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/pki"
)

// TestTLSProfiles: who may be certified, by the host that the authority is for.
func TestTLSProfiles(t *testing.T) {
	start := time.Now().Truncate(time.Second)
	name := pkix.Name{Organization: []string{"test"}, CommonName: "test"}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root, err := pki.NewRoot(key, name, start)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		host  string
		names []string
		nets  int // permitted networks: two of loopback, and the host's
		want  string
	}{
		{"stack.test", []string{"stack.test", "localhost"}, 2, ""},
		{"Stack.TEST.", []string{"stack.test", "localhost"}, 2, ""},
		{"localhost", []string{"localhost"}, 2, ""},
		{"127.0.0.2", []string{"localhost"}, 2, ""},
		{"192.0.2.1", []string{"localhost"}, 3, ""},
		{"2001:db8::1", []string{"localhost"}, 3, ""},
		{strings.Repeat("a.", 60) + "test", []string{strings.Repeat("a.", 60) + "test", "localhost"}, 2, ""},
		{"fe80::1%eth0", nil, 0, "zone"},
		{"stäck.test", nil, 0, "ASCII"},
		{"", nil, 0, "needs a host"},
	} {
		inter, err := pki.NewTLSIntermediate(root, key, key.Public(), name, tt.host, start)
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.host, err, tt.want)
		}
		if checkErr := pki.CheckTLSHost(tt.host); (checkErr == nil) != (err == nil) {
			t.Errorf("%q: check says %v, issuing %v", tt.host, checkErr, err)
		}
		if err != nil {
			continue
		}
		if !inter.PermittedDNSDomainsCritical || !slices.Equal(inter.PermittedDNSDomains, tt.names) || len(inter.PermittedIPRanges) != tt.nets ||
			!inter.MaxPathLenZero || !slices.Equal(inter.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
			t.Errorf("%q: permits %v %v, critical %v", tt.host, inter.PermittedDNSDomains, inter.PermittedIPRanges, inter.PermittedDNSDomainsCritical)
		}
		leaf, err := pki.NewTLSLeaf(inter, key, key.Public(), tt.host, start.Add(-time.Hour))
		if err != nil {
			t.Fatalf("%q: %v", tt.host, err)
		}
		if leaf.NotBefore.Before(inter.NotBefore) || leaf.NotAfter.After(inter.NotAfter) || leaf.IsCA || len(leaf.Subject.CommonName) > 64 {
			t.Errorf("%q: valid %v to %v, authority %v; name %q", tt.host, leaf.NotBefore, leaf.NotAfter, leaf.IsCA, leaf.Subject.CommonName)
		}
		if !slices.ContainsFunc(leaf.IPAddresses, net.IPv6loopback.Equal) || leaf.VerifyHostname(tt.host) != nil {
			t.Errorf("%q: is %v %v", tt.host, leaf.DNSNames, leaf.IPAddresses)
		}
	}

	// At its end the authority's certificates end with it; then there are none.
	inter, err := pki.NewTLSIntermediate(root, key, key.Public(), name, "stack.test", start)
	if err != nil {
		t.Fatal(err)
	}
	last, err := pki.NewTLSLeaf(inter, key, key.Public(), "stack.test", inter.NotAfter.Add(-time.Hour))
	if err != nil || !last.NotAfter.Equal(inter.NotAfter) {
		t.Errorf("last certificate: %v, want one until %v", err, inter.NotAfter)
	}
	if _, err := pki.NewTLSLeaf(inter, key, key.Public(), "stack.test", inter.NotAfter); err == nil || !strings.Contains(err.Error(), "not valid any more") {
		t.Errorf("after the end: got %v, want a refusal", err)
	}
}
