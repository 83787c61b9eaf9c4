package release_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/release"
)

var anyDigest = "sha256:" + strings.Repeat("0a", 32)

func TestImagesRoundTrip(t *testing.T) {
	want := []release.Image{
		{Ref: "localhost:5000/k8s/kube-proxy-amd64:v1.0.0", Digest: anyDigest},
		{Ref: "registry.k8s.io/kube-proxy:v1.0.0_build.1", Digest: anyDigest},
	}
	path := filepath.Join(t.TempDir(), "v1.0.0"+release.ImagesSuffix)
	for range 2 { // a list is written again over the old one
		if err := release.WriteImages(path, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := release.ReadImages(path)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got := want[0].Pinned(); got != "localhost:5000/k8s/kube-proxy-amd64@"+anyDigest {
		t.Errorf("pinned: got %s", got)
	}
}

func TestParseImagesRefuses(t *testing.T) {
	line := "localhost:5000/a:v1@" + anyDigest
	for name, text := range map[string]string{
		"no digest":     "localhost:5000/a:v1",
		"no tag":        "localhost:5000/a@" + anyDigest,
		"no registry":   "a:v1@" + anyDigest,
		"scheme":        "oci://localhost:5000/a:v1@" + anyDigest,
		"short digest":  "localhost:5000/a:v1@sha256:00",
		"upper case":    "localhost:5000/a:v1@" + "sha256:" + strings.Repeat("0A", 32),
		"other digest":  "localhost:5000/a:v1@sha512:" + strings.Repeat("0a", 64),
		"twice":         line + "\n" + line,
		"space":         " " + line,
		"carriage":      line + "\r\n",
		"comment after": line + " # mine",
	} {
		if got, err := release.ParseImages([]byte(text)); err == nil {
			t.Errorf("%s: got %v, want an error", name, got)
		}
	}
	got, err := release.ParseImages([]byte("# a comment\n\n" + line + "\n"))
	if err != nil || len(got) != 1 {
		t.Errorf("got %v, %v, want one image", got, err)
	}
	if err := release.WriteImages(filepath.Join(t.TempDir(), "x"), []release.Image{{Ref: "a", Digest: anyDigest}}); err == nil {
		t.Error("a list that cannot be read is written")
	}
}

// What is accepted is what its encoding says, and that is the same again.
func FuzzParseImages(f *testing.F) {
	f.Add([]byte("# c\nlocalhost:5000/a:v1@" + anyDigest + "\nregistry.k8s.io/b/c:v1_2@" + anyDigest + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		images, err := release.ParseImages(data)
		if err != nil {
			return
		}
		text, err := release.EncodeImages(images)
		if err != nil {
			t.Fatalf("accepted, but not encoded: %v", err)
		}
		for _, line := range bytes.Split(text, []byte("\n")) {
			if !bytes.Contains(data, line) {
				t.Errorf("%q is not in the input", line)
			}
		}
		again, err := release.ParseImages(text)
		if err != nil || !slices.Equal(again, images) {
			t.Errorf("got %v, %v, want %v", again, err, images)
		}
	})
}
