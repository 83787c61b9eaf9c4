package oci

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// upload stores a small blob. It is sent in one piece and not asked for before: a
// signature is new, and to ask costs as much as to send. A registry that does not take it
// so gets it in the way of go-containerregistry, which asks, sends it in pieces and tries
// again.
func (r *Registry) upload(ctx context.Context, repo name.Repository, content []byte) error {
	if err := r.uploadWhole(ctx, repo, content); err == nil || ctx.Err() != nil {
		return err
	}
	r.twoSteps.Store(repo.RegistryStr(), true)
	return r.pusher.Upload(ctx, repo, static.NewLayer(content, types.MediaType(octets)))
}

const (
	octets   = "application/octet-stream"
	maxFirst = 1 << 20 // bytes of a blob that is sent with the first request, maybe for nothing
)

// uploadWhole sends a blob with the one request that may be enough (OCI distribution 1.1,
// "Single POST"). A registry that does not take it so opens an upload in answer, which the
// blob is then sent to ("POST then PUT"), and is not given any with the first request again.
func (r *Registry) uploadWhole(ctx context.Context, repo name.Repository, content []byte) error {
	begin := uploadsOf(repo)
	digest := hashOf(content).String()
	first, contentType := content, octets
	if _, known := r.twoSteps.Load(repo.RegistryStr()); known || len(content) > maxFirst {
		first, contentType = nil, ""
	} else {
		begin.RawQuery = url.Values{"digest": {digest}}.Encode()
	}
	begun, err := r.send(ctx, repo, http.MethodPost, begin, first, contentType, http.StatusAccepted, http.StatusCreated)
	if err != nil {
		return err
	}
	if begun.status == http.StatusCreated && first != nil {
		return nil
	}
	if first != nil {
		r.twoSteps.Store(repo.RegistryStr(), true)
	}
	at := begun.location
	if at == nil || at.Host != begin.Host {
		return fmt.Errorf("begin upload: %s names no place of its own to send it to", begin.Host)
	}
	query := at.Query()
	query.Set("digest", digest)
	at.RawQuery = query.Encode()
	_, err = r.send(ctx, repo, http.MethodPut, at, content, octets, http.StatusCreated)
	return err
}

// uploadsOf is where uploads to a repository begin.
func uploadsOf(repo name.Repository) *url.URL {
	return &url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr() + "/blobs/uploads/"}
}

// mount has the registry take a blob from another of its repositories, and reports whether
// it did. If not, that is for whoever copies it then to tell.
func (r *Registry) mount(ctx context.Context, from, to name.Repository, digest v1.Hash) bool {
	at := uploadsOf(to)
	at.RawQuery = url.Values{"mount": {digest.String()}, "from": {from.RepositoryStr()}}.Encode()
	_, err := r.send(ctx, to, http.MethodPost, at, nil, "", http.StatusCreated)
	return err == nil
}

// putManifest stores a manifest by its digest, and nothing else, whatever it refers to. It
// returns the subject that the registry says it will list the manifest of, or "".
func (r *Registry) putManifest(ctx context.Context, repo name.Repository, digest v1.Hash, m copied) (subject string, err error) {
	at := &url.URL{
		Scheme: repo.Scheme(), Host: repo.RegistryStr(),
		Path: "/v2/" + repo.RepositoryStr() + "/manifests/" + digest.String(),
	}
	put, err := r.send(ctx, repo, http.MethodPut, at, m.raw, string(m.mediaType), http.StatusOK, http.StatusCreated, http.StatusAccepted)
	return put.subject, err
}

// taken is what a registry answers to a request that it has taken.
type taken struct {
	status   int
	location *url.URL // that it names; nil: none
	subject  string   // whose referrers API lists what was sent (OCI distribution 1.1, "Pushing Manifests with Subject")
}

// send makes a request with the credentials to write to repo. A status that is not wanted
// is a *transport.Error.
func (r *Registry) send(ctx context.Context, repo name.Repository, method string, to *url.URL, body []byte, contentType string, want ...int) (taken, error) {
	client, err := r.client(ctx, repo, transport.PushScope)
	if err != nil {
		return taken{}, err
	}
	req, err := http.NewRequestWithContext(ctx, method, to.String(), bytes.NewReader(body))
	if err != nil {
		return taken{}, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := client.Do(req)
	if err != nil {
		return taken{}, err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, want...); err != nil {
		return taken{}, err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // so that the connection is kept
		return taken{}, err
	}
	t := taken{status: resp.StatusCode, subject: resp.Header.Get("OCI-Subject")}
	if place := resp.Header.Get("Location"); place != "" {
		t.location, err = resp.Request.URL.Parse(place)
	}
	return t, err
}
