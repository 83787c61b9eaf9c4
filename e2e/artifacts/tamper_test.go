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

// evidence is a stored signature or attestation: a manifest and one of its layers.
type evidence struct {
	manifest v1.Manifest
	config   []byte
	layer    v1.Descriptor
	content  []byte // of the layer
}

// suffix is that of the tag where something is stored.
func suffix(storage clients.Kind) string {
	if storage.Attests() {
		return ".att"
	}
	return ".sig"
}

// referrer tells whether something is stored as a referrer, else by tag.
func referrer(storage clients.Kind) bool {
	return storage == clients.ImageReferrer || storage == clients.ImageReferrerAttestation
}

// readEvidence reads the only signature of an artifact.
func readEvidence(t *testing.T, storage clients.Kind, repo name.Repository, signed artifact) evidence {
	t.Helper()
	all := readAll(t, storage, repo, signed)
	if len(all) != 1 {
		t.Fatalf("got %d signatures, want one", len(all))
	}
	return all[0]
}

// readAll reads all that is stored for an artifact.
func readAll(t *testing.T, storage clients.Kind, repo name.Repository, signed artifact) []evidence {
	t.Helper()
	digest := signed.descriptor().Digest
	refs := []name.Reference{attachedTag(repo, digest, suffix(storage))}
	if referrer(storage) {
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
	var all []evidence
	for _, ref := range refs {
		got, err := remote.Get(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		m, err := v1.ParseManifest(bytes.NewReader(got.Manifest))
		if err != nil {
			t.Fatal(err)
		}
		config := readBlob(t, repo, m.Config.Digest)
		for _, l := range m.Layers {
			all = append(all, evidence{*m, config, l, readBlob(t, repo, l.Digest)})
		}
	}
	return all
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
	m, l, subject := e.manifest, e.layer, beside.descriptor()
	l.Digest, l.Size = hashOf(e.content), int64(len(e.content))
	m.Layers = []v1.Descriptor{l}
	var to name.Reference = attachedTag(repo, subject.Digest, suffix(storage))
	if referrer(storage) {
		m.Subject = &subject
	}
	stored := artifact{types.OCIManifestSchema1, encode(t, m), []blob{
		{string(m.Config.MediaType), e.config}, {string(l.MediaType), e.content},
	}, nil}
	if referrer(storage) {
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
		e.content = bytes.Replace(e.content, []byte("artifacts/"), []byte("artifactr/"), 1)
	} else {
		e.content = flipSignature(t, e.content)
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

	for _, e := range readAll(t, c.storage, signed.Context(), genuine) {
		c.liar.swap(repo.Digest(e.layer.Digest.String()), fmt.Appendf(nil, "%64s", "swapped"))
	}
	c.refused(t, ref, "found 3: read .*(sha256|digest|size)")
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
