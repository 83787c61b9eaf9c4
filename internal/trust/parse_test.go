package trust_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"sigstack/internal/trust"
)

func TestParseTrustedRootReadsItBack(t *testing.T) {
	data, err := newMaterial(t).TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	r, err := trust.ParseTrustedRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.JSON()
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("got\n%s\n%v; want\n%s", again, err, data)
	}
}

func TestParseTrustedRootRefuses(t *testing.T) {
	valid, err := newMaterial(t).TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"unknown member":     {`"mediaType"`, `"extra": 1, "mediaType"`},
		"other media type":   {"version=0.1", "version=0.2"},
		"operator":           {`"hashAlgorithm"`, `"operator": "x", "hashAlgorithm"`},
		"other hash":         {"SHA2_256", "SHA2_512"},
		"fraction of second": {`12:00:00Z`, `12:00:00.5Z`},
		"other subject":      {`"commonName": "root"`, `"commonName": "r"`},
		"other key details":  {"PKIX_ED25519", "PKIX_ECDSA_P256_SHA_256"},
		"log of other name":  {"https://log2.corp.example:8443", "https://log3.corp.example"},
		"no start":           {`"start"`, `"end"`},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(string(valid), change[0], change[1], 1)
			if bad == string(valid) {
				t.Fatalf("%q does not occur", change[0])
			}
			if _, err := trust.ParseTrustedRoot([]byte(bad)); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// FuzzParseTrustedRoot: what is accepted re-encodes to the same file, up to
// white space and the order of members, and is then a fixed point.
func FuzzParseTrustedRoot(f *testing.F) {
	valid, err := newMaterial(f).TrustedRoot()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(valid)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))
	f.Add([]byte(`{"tlogs":[{}],"certificateAuthorities":[{"certChain":{}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := trust.ParseTrustedRoot(data)
		if err != nil {
			return
		}
		once, err := r.JSON()
		if err != nil {
			t.Fatalf("accepted %q, which does not encode: %v", data, err)
		}
		if !json.Valid(once) {
			t.Fatalf("encoded to invalid JSON: %s", once)
		}
		r, err = trust.ParseTrustedRoot(once)
		if err != nil {
			t.Fatalf("own output refused: %v\n%s", err, once)
		}
		twice, err := r.JSON()
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("got %s, %v; want %s", twice, err, once)
		}
	})
}
