package signing

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"testing"
)

// TestNamesThatX509DoesNotKnow: a username's name, with the bytes of contract ca §6,
// is understood, and nothing else that is critical.
func TestNamesThatX509DoesNotKnow(t *testing.T) {
	username, err := hex.DecodeString("3021a01f060a2b0601040183bf300107a0110c0f666f6f216578616d706c652e636f6d")
	if err != nil {
		t.Fatal(err)
	}
	otherOID := slices.Clone(username)
	otherOID[13]++ // of the name's type
	constraints := asn1.ObjectIdentifier{2, 5, 29, 36}
	for _, tt := range []struct {
		name   string
		value  []byte
		others []asn1.ObjectIdentifier
		want   int // extensions that stay not understood
	}{
		{"username", username, nil, 0},
		{"username and more", username, []asn1.ObjectIdentifier{constraints}, 1},
		{"name of another type", otherOID, nil, 1},
		{"no name", []byte{0x30, 0}, nil, 1},
		{"garbage", []byte("name"), nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert := &x509.Certificate{
				Extensions:                  []pkix.Extension{{Id: oidSubjectAltName, Critical: true, Value: tt.value}},
				UnhandledCriticalExtensions: append([]asn1.ObjectIdentifier{oidSubjectAltName}, tt.others...),
			}
			before := len(cert.UnhandledCriticalExtensions)
			if got := withName(cert).UnhandledCriticalExtensions; len(got) != tt.want {
				t.Errorf("not understood: %v, want %d", got, tt.want)
			}
			if len(cert.UnhandledCriticalExtensions) != before {
				t.Error("the certificate itself was changed")
			}
		})
	}
}
