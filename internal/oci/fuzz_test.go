package oci

import (
	"bytes"
	"encoding/json"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"sigstack/internal/signing"
)

// FuzzPayload: an accepted payload is of the one type, about a digest, and
// survives being written again.
func FuzzPayload(f *testing.F) {
	good, err := payload{"registry.example/app", "sha256:" + strings.Repeat("a", 64), map[string]string{"a": "<b>", "c": ""}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(bytes.Replace(good, []byte(`"<b>"`), []byte(`[1,null]`), 1))
	f.Add(bytes.Replace(good, []byte(`"optional":{`), []byte(`"optional":null,"x":{`), 1))
	f.Add(append(bytes.Clone(good), good...))
	f.Add(bytes.Replace(good, []byte(`"docker-reference"`), []byte(`"Docker-Reference"`), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decodePayload(data)
		if err != nil {
			return
		}
		if _, err := v1.NewHash(p.Digest); err != nil || !bytes.Contains(data, []byte(`cosign`)) {
			t.Errorf("accepted %q: got %+v", data, p)
		}
		text, err := p.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodePayload(text)
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Errorf("written again: got %+v, %v, want %+v", again, err, p)
		}
	})
}

// TestPayloadOfTwoReadings has payloads that readers would understand in one way or
// another.
func TestPayloadOfTwoReadings(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	good, err := payload{"registry.example/app", digest, map[string]string{"env": "prod"}}.encode()
	if err != nil {
		t.Fatal(err)
	}
	if p, err := decodePayload(good); err != nil || p.Digest != digest {
		t.Fatalf("got %+v, %v", p, err)
	}
	for old, changed := range map[string]string{
		`"optional":{`:             `"Critical":{"image":{"docker-manifest-digest":"sha256:` + strings.Repeat("b", 64) + `"}},"optional":{`,
		`"env":"prod"`:             `"env":"dev","env":"prod"`,
		`"docker-manifest-digest"`: `"Docker-Manifest-Digest"`,
		`"image":`:                 `"image":{},"image":`,
		`"type":`:                  `"Type":"x","type":`,
		`"identity":`:              `"IDENTITY":`,
		`{"critical"`:              `{} {"critical"`,
	} {
		text := bytes.Replace(good, []byte(old), []byte(changed), 1)
		if bytes.Equal(text, good) {
			t.Fatalf("%s has no %s", good, old)
		}
		if p, err := decodePayload(text); err == nil {
			t.Errorf("%s: got %+v, want an error", text, p)
		}
	}
}

// FuzzLayer: annotations that are accepted are what would be written for what was
// read from them, and nothing that was there is lost.
func FuzzLayer(f *testing.F) {
	f.Add("YWJj", "certificate", "", "{}", "", []byte("payload"), false)
	f.Add("", "", "", `{"Payload":{"body":"e30="}}`, `{"SignedRFC3161Timestamp":"YQ=="}`, []byte(`{"payload":"e30="}`), true)
	f.Fuzz(func(t *testing.T, sig, cert, chain, promise, timestamp string, content []byte, attestation bool) {
		desc := v1.Descriptor{MediaType: signatureType, Annotations: map[string]string{
			signatureKey: sig, certificateKey: cert, chainKey: chain, promiseKey: promise, timestampKey: timestamp,
		}}
		if attestation {
			desc.MediaType = attestationType
		}
		got, err := tagSignature(desc, content)
		if err != nil {
			return
		}
		if attestation == (len(got.Signature) > 0) {
			t.Errorf("attestation %v: got a signature of %d bytes", attestation, len(got.Signature))
		}
		desc.Annotations = layerAnnotations(got, "")
		if cert == "" && chain != "" { // written with a certificate only
			desc.Annotations[chainKey] = chain
		}
		again, err := tagSignature(desc, content)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("written again: got %+v, %v, want %+v", again, err, got)
		}
		if string(again.Promise) != promise || string(again.Timestamp) != timestamp || string(again.Certificate) != cert {
			t.Errorf("got %+v, want all parts kept", again)
		}
		if b, err := got.Bundle(); err == nil && b.HoldsStatement() != attestation {
			t.Errorf("attestation %v: got a bundle with a statement: %v", attestation, b.HoldsStatement())
		}
	})
}

// FuzzManifest: an accepted manifest is an image manifest, and survives being
// written again.
func FuzzManifest(f *testing.F) {
	img := image{desc: v1.Descriptor{Digest: hashOf(nil)}}
	good, err := referrerManifest(img, []byte("{}"), SignaturePredicate, "2026-01-01T00:00:00Z")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("manifest.v1"), []byte("index.v1"), 1))
	f.Add([]byte(`{"schemaVersion":2,"layers":[{"digest":"sha256:00","annotations":{"a":1}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data)
		if err != nil {
			return
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(m.MediaType), "index") || m.SchemaVersion != 2 {
			t.Errorf("accepted a %s of version %d", m.MediaType, m.SchemaVersion)
		}
		again, err := parseManifest(text)
		if err != nil {
			t.Fatalf("written again: %v", err)
		}
		if retext, err := json.Marshal(again); err != nil || !bytes.Equal(retext, text) {
			t.Errorf("written again: got %s, %v, want %s", retext, err, text)
		}
	})
}

// FuzzIndex: what an accepted index lists survives being written again.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"m","size":1,"digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`))
	f.Add([]byte(`{"schemaVersion":1,"manifests":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		descs, err := parseIndex(data)
		if err != nil {
			return
		}
		text, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: descs})
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseIndex(text)
		if err != nil || len(again) != len(descs) {
			t.Errorf("written again: got %d manifests, %v, want %d", len(again), err, len(descs))
		}
	})
}

// FuzzNextPage: no link leads to another host or away from TLS.
func FuzzNextPage(f *testing.F) {
	for _, link := range []string{
		`</v2/a/referrers/b?page=2>; rel="next"`, `<?p>; rel=next`, `<//evil.example/v2/>; rel="next"`,
		`<http://registry.example/x>; rel="next"`, `<x>; rel="prev"`, `<%zz>; rel=next`, "", "<",
	} {
		f.Add(link)
	}
	f.Fuzz(func(t *testing.T, link string) {
		from := &url.URL{Scheme: "https", Host: "registry.example", Path: "/v2/a/referrers/b"}
		next, err := nextPage(from, link)
		if err == nil && next != nil && (next.Host != from.Host || next.Scheme != "https") {
			t.Errorf("%q: got %s, want a page of %s", link, next, from.Host)
		}
	})
}

// FuzzClaimedType: the type that is passed over is the one that would be judged.
func FuzzClaimedType(f *testing.F) {
	f.Add(SignaturePredicate, []byte(`{}`))
	f.Add("https://spdx.dev/Document", []byte(`{"dsseEnvelope":{"payload":"e30="}}`))
	f.Fuzz(func(t *testing.T, predicateType string, junk []byte) {
		claimedType(found{style: Referrer, content: junk})
		claimedType(found{style: Tag, content: junk})
		if !utf8.ValidString(predicateType) || predicateType == "" {
			return
		}
		subject := signing.Subject{Digest: map[string]string{"sha256": strings.Repeat("0", 64)}}
		statement, err := signing.NewStatement([]signing.Subject{subject}, predicateType, nil)
		if err != nil {
			return
		}
		envelope := map[string]any{"payload": statement, "payloadType": signing.StatementPayloadType}
		for style, content := range map[Style]any{Tag: envelope, Referrer: map[string]any{"dsseEnvelope": envelope}} {
			text, err := json.Marshal(content)
			if err != nil {
				t.Fatal(err)
			}
			f := found{style: style, content: text}
			if got := claimedType(f); got != predicateType {
				t.Errorf("by %s: got %q, want %q", style, got, predicateType)
			}
		}
	})
}
