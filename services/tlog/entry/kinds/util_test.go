package kinds_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"
)

func sum(b []byte) [32]byte { return sha256.Sum256(b) }

func certsOf(certs ...*x509.Certificate) []*x509.Certificate { return certs }

// keyOf returns the key of a proposal and its format, if it has one.
func keyOf(tb testing.TB, proposed []byte) (format string, material []byte, ok bool) {
	tb.Helper()
	var e struct {
		Kind string
		Spec struct {
			Signature struct {
				Format    string
				PublicKey struct{ Content []byte }
			}
			PublicKey json.RawMessage
			Root      struct{ Content json.RawMessage }
		}
	}
	if err := json.Unmarshal(proposed, &e); err != nil {
		tb.Fatal(err)
	}
	switch e.Kind {
	case "rekord":
		return e.Spec.Signature.Format, e.Spec.Signature.PublicKey.Content, true
	case "helm", "rpm", "alpine":
		var key struct{ Content []byte }
		if err := json.Unmarshal(e.Spec.PublicKey, &key); err != nil {
			tb.Fatal(err)
		}
		return map[string]string{"helm": "pgp", "rpm": "pgp", "alpine": "x509"}[e.Kind], key.Content, true
	case "cose":
		if err := json.Unmarshal(e.Spec.PublicKey, &material); err != nil {
			tb.Fatal(err)
		}
		return "x509", material, true
	case "tuf":
		var text string
		if json.Unmarshal(e.Spec.Root.Content, &text) != nil {
			return "tuf", e.Spec.Root.Content, true
		}
		decoded, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			tb.Fatal(err)
		}
		return "tuf", decoded, true
	default:
		return "", nil, false
	}
}

func now() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func gz(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	must(z.Write(data))(tb)
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// tarHeader is the header of a file of that size, without the file.
func tarHeader(tb testing.TB, name string, size int64) []byte {
	tb.Helper()
	var out bytes.Buffer
	if err := tar.NewWriter(&out).WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644}); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}
