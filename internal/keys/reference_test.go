package keys_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"sigstack/internal/keys"
	"sigstack/internal/keys/kmstest"
)

func FuzzReference(f *testing.F) {
	dir, service := f.TempDir(), kmstest.New(f)
	service.NewKey(f, "k")
	if _, err := withService(dir, service).Adopt("k", "fake://k", created); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(filepath.Join(dir, "k.ref"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(bytes.Replace(seed, []byte("fake://k"), []byte("pkcs11:token=a;object=b?module-path=/x"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		written, err := keys.RewriteReference(data)
		if err != nil {
			return
		}
		again, err := keys.RewriteReference(written)
		if err != nil || !bytes.Equal(again, written) {
			t.Fatalf("%q is written as %q and that as %q, %v", data, written, again, err)
		}
	})
}
