package pki

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// TLSLeafLifetime is how long a certificate of the internal authority for TLS
// lives: short, because nothing can revoke it.
const TLSLeafLifetime = 30 * 24 * time.Hour

// loopback are the addresses of this machine (RFC 1122 §3.2.1.3, RFC 4291
// §2.5.3).
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// NewTLSIntermediate returns a CA certificate for pub that can only certify
// servers of host and of this machine: path length 0, extended key usage
// serverAuth, and critical name constraints (RFC 5280 §4.2.1.10) to host, a name
// or an IP address, to localhost and to the loopback addresses.
func NewTLSIntermediate(parent *x509.Certificate, parentKey crypto.Signer, pub crypto.PublicKey, name pkix.Name, host string, notBefore time.Time) (*x509.Certificate, error) {
	names, ips, err := tlsNames(host)
	if err != nil {
		return nil, err
	}
	tmpl, err := caTemplate(pub, name, notBefore, earlier(notBefore.Add(IntermediateLifetime), parent.NotAfter))
	if err != nil {
		return nil, err
	}
	tmpl.MaxPathLenZero = true
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	tmpl.PermittedDNSDomainsCritical = true
	tmpl.PermittedDNSDomains = names
	prefixes := slices.Clone(loopback)
	for _, ip := range ips {
		if !ip.IsLoopback() {
			prefixes = append(prefixes, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	for _, p := range prefixes {
		tmpl.PermittedIPRanges = append(tmpl.PermittedIPRanges, &net.IPNet{
			IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		})
	}
	return sign(tmpl, parent, pub, parentKey)
}

// NewTLSLeaf returns a server certificate for host, localhost, 127.0.0.1 and ::1,
// valid from notBefore for TLSLeafLifetime, never longer than parent.
func NewTLSLeaf(parent *x509.Certificate, parentKey crypto.Signer, pub crypto.PublicKey, host string, notBefore time.Time) (*x509.Certificate, error) {
	names, ips, err := tlsNames(host)
	if err != nil {
		return nil, err
	}
	serial, err := NewSerial()
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: parent.Subject.Organization, CommonName: commonName(host)},
		NotBefore:             later(notBefore, parent.NotBefore).UTC(),
		NotAfter:              earlier(notBefore.Add(TLSLeafLifetime), parent.NotAfter).UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              names,
	}
	for _, ip := range ips {
		tmpl.IPAddresses = append(tmpl.IPAddresses, ip.AsSlice())
	}
	if !tmpl.NotAfter.After(tmpl.NotBefore) {
		return nil, fmt.Errorf("authority %s is not valid any more: it ended at %s", parent.Subject, parent.NotAfter.UTC().Format(time.RFC3339))
	}
	return sign(tmpl, parent, pub, parentKey)
}

// CheckTLSHost refuses a host that no certificate can name.
func CheckTLSHost(host string) error {
	_, _, err := tlsNames(host)
	return err
}

// tlsNames returns what a server of host is called: host, and what this machine
// always is.
func tlsNames(host string) (names []string, ips []netip.Addr, err error) {
	names = []string{"localhost"}
	ips = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return nil, nil, fmt.Errorf("host %q: an address with a zone cannot be in a certificate", host)
		}
		if ip = ip.Unmap(); !slices.Contains(ips, ip) {
			ips = append(ips, ip)
		}
		return names, ips, nil
	}
	if host == "" {
		return nil, nil, errors.New("a server certificate needs a host")
	}
	for _, c := range host {
		if c > '~' {
			return nil, nil, fmt.Errorf("host %q: want its ASCII form, xn--…", host)
		}
	}
	if host != names[0] {
		names = append([]string{host}, names...)
	}
	return names, ips, nil
}

// commonName is host where it fits: X.520 allows 64 characters.
func commonName(host string) string {
	if len(host) > 64 {
		return ""
	}
	return host
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
