package artifacts

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sigstack/e2e/clients"
)

// evidence is a stored signature: a manifest and its one layer.
type evidence struct {
	manifest v1.Manifest
	config   []byte
	layer    []byte
}

// readEvidence reads the only signature of an artifact.
func readEvidence(t *testing.T, storage clients.Kind, repo name.Repository, signed artifact) evidence {
	t.Helper()
	digest := signed.descriptor().Digest
	var ref name.Reference = attachedTag(repo, digest, ".sig")
	if storage == clients.ImageReferrer {
		index, err := remote.Referrers(repo.Digest(digest.String()), remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		listed, err := index.IndexManifest()
		if err != nil || len(listed.Manifests) != 1 {
			t.Fatalf("got %+v, %v, want one referrer", listed, err)
		}
		ref = repo.Digest(listed.Manifests[0].Digest.String())
	}
	got, err := remote.Get(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	var e evidence
	if err := json.Unmarshal(got.Manifest, &e.manifest); err != nil || len(e.manifest.Layers) != 1 {
		t.Fatalf("got %s, %v, want a manifest of one layer", got.Manifest, err)
	}
	e.config = readBlob(t, repo, e.manifest.Config.Digest)
	e.layer = readBlob(t, repo, e.manifest.Layers[0].Digest)
	return e
}

func readBlob(t *testing.T, repo name.Repository, digest v1.Hash) []byte {
	t.Helper()
	layer, err := remote.Layer(repo.Digest(digest.String()), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	body, err := layer.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// store puts the signature beside an artifact, whosever it is.
func (e evidence) store(t *testing.T, storage clients.Kind, repo name.Repository, beside artifact) {
	t.Helper()
	m, subject := e.manifest, beside.descriptor()
	m.Layers = []v1.Descriptor{m.Layers[0]}
	m.Layers[0].Digest, m.Layers[0].Size = hashOf(e.layer), int64(len(e.layer))
	var to name.Reference = attachedTag(repo, subject.Digest, ".sig")
	if storage == clients.ImageReferrer {
		m.Subject = &subject
	}
	stored := artifact{types.OCIManifestSchema1, encode(t, m), []blob{
		{string(m.Config.MediaType), e.config}, {string(m.Layers[0].MediaType), e.layer},
	}, nil}
	if storage == clients.ImageReferrer {
		to = repo.Digest(stored.descriptor().Digest.String())
	}
	stored.push(t, to)
}

// replaced puts another content under the same tag, and then the signature of the
// genuine one beside it.
func (c *cell) replaced(t *testing.T, ref name.Tag, genuine evidence) {
	t.Helper()
	other := c.kind.make(t, "tampered")
	other.push(t, ref)
	c.refused(t, ref, "refused: .*"+other.descriptor().Digest.String()+" has no signature")
	genuine.store(t, c.storage, ref.Context(), other)
	c.refused(t, ref, map[clients.Kind]string{
		clients.ImageTag:      "found 1: signature payload: it is for sha256:",
		clients.ImageReferrer: "found 1: attestation: none of its 1 subjects has ",
	}[c.storage])
}

// flipped stores the signature with one bit changed.
func (c *cell) flipped(t *testing.T, genuine artifact, e evidence) {
	t.Helper()
	repo := c.repository(t, c.host, "-flipped")
	ref := c.place(t, repo)
	genuine.push(t, ref)
	if c.storage == clients.ImageTag {
		// One letter of the repository's name in the payload.
		e.layer = bytes.Replace(e.layer, []byte("artifacts/"), []byte("artifactr/"), 1)
	} else {
		e.layer = flipSignature(t, e.layer)
	}
	e.store(t, c.storage, repo, genuine)
	c.refused(t, ref, "found 1: log entry: ")
}

// flipSignature changes the last bit of the signature in a bundle.
func flipSignature(t *testing.T, bundle []byte) []byte {
	t.Helper()
	var b struct {
		Envelope struct {
			Signatures []struct{ Sig string }
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil || len(b.Envelope.Signatures) != 1 {
		t.Fatalf("got %s, %v, want a bundle of one signature", bundle, err)
	}
	was := b.Envelope.Signatures[0].Sig
	raw, err := base64.StdEncoding.DecodeString(was)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	return bytes.Replace(bundle, []byte(was), []byte(base64.StdEncoding.EncodeToString(raw)), 1)
}

// swapped has the registry give other bytes than it should: for the stored
// signature, which is refused, or for the genuine artifact's manifest.
func (c *cell) swapped(t *testing.T, signed name.Tag, genuine artifact) {
	t.Helper()
	repo := c.repository(t, c.liar.host, "")
	ref := repo.Digest(genuine.descriptor().Digest.String())
	c.accepted(t, ref, 3)
	forged := c.kind.make(t, "swapped")
	c.liar.swap(ref, forged.manifest)
	c.refused(t, ref, "manifest digest: .* does not match requested digest")
	c.liar.swap(ref, nil)

	for _, d := range evidenceOf(t, c.storage, signed.Context(), genuine) {
		c.liar.swap(repo.Digest(d.String()), fmt.Appendf(nil, "%64s", "swapped"))
	}
	c.refused(t, ref, "found 3: read .*(sha256|digest|size)")
}

// evidenceOf returns the digests of the layers that hold an artifact's signatures.
func evidenceOf(t *testing.T, storage clients.Kind, repo name.Repository, signed artifact) []v1.Hash {
	t.Helper()
	digest := signed.descriptor().Digest
	refs := []name.Reference{attachedTag(repo, digest, ".sig")}
	if storage == clients.ImageReferrer {
		index, err := remote.Referrers(repo.Digest(digest.String()), remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		listed, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		refs = nil
		for _, d := range listed.Manifests {
			refs = append(refs, repo.Digest(d.Digest.String()))
		}
	}
	var layers []v1.Hash
	for _, ref := range refs {
		got, err := remote.Get(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		m, err := v1.ParseManifest(bytes.NewReader(got.Manifest))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range m.Layers {
			layers = append(layers, l.Digest)
		}
	}
	return layers
}

// liar stands before a registry and gives other bytes for some digests.
type liar struct {
	host string

	mu    sync.Mutex
	swaps map[string][]byte // guarded by mu; by repository@digest
}

func newLiar(t *testing.T, host string) *liar {
	t.Helper()
	l := &liar{swaps: map[string][]byte{}}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&url.URL{Scheme: "http", Host: host})
		p.Out.Host = p.In.Host
	}, ModifyResponse: l.lie}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	l.host = strings.TrimPrefix(server.URL, "http://")
	return l
}

// swap has other bytes given for a manifest or a blob; nil ends that.
func (l *liar) swap(what name.Digest, other []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.swaps[what.Context().RepositoryStr()+"@"+what.DigestStr()] = other
}

// lie changes an answer, and nothing that tells of the change.
func (l *liar) lie(resp *http.Response) error {
	// The path is /v2/REPOSITORY/manifests/DIGEST, or …/blobs/DIGEST.
	rest, digest := path.Split(resp.Request.URL.Path)
	repository := strings.TrimPrefix(path.Dir(path.Clean(rest)), "/v2/")
	l.mu.Lock()
	other := l.swaps[repository+"@"+digest]
	l.mu.Unlock()
	if other == nil || resp.Request.Method != http.MethodGet {
		return nil
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(other)), int64(len(other))
	resp.Header.Set("Content-Length", fmt.Sprint(len(other)))
	return nil
}
