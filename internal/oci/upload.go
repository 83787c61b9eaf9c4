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

// upload stores a small blob. It is sent in one piece (OCI distribution 1.1, "POST then
// PUT") and not asked for before: a signature is new, and to ask costs as much as to send.
// A registry that does not take it so gets it in the way of go-containerregistry, which
// asks, sends it in pieces and tries again.
func (r *Registry) upload(ctx context.Context, repo name.Repository, content []byte) error {
	if err := r.uploadWhole(ctx, repo, content); err == nil || ctx.Err() != nil {
		return err
	}
	return r.pusher.Upload(ctx, repo, static.NewLayer(content, types.MediaType(octets)))
}

const octets = "application/octet-stream"

func (r *Registry) uploadWhole(ctx context.Context, repo name.Repository, content []byte) error {
	begin := &url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr() + "/blobs/uploads/"}
	at, err := r.send(ctx, repo, http.MethodPost, begin, nil, "", http.StatusAccepted)
	if err != nil {
		return err
	}
	if at == nil || at.Host != begin.Host {
		return fmt.Errorf("begin upload: %s names no place of its own to send it to", begin.Host)
	}
	query := at.Query()
	query.Set("digest", hashOf(content).String())
	at.RawQuery = query.Encode()
	_, err = r.send(ctx, repo, http.MethodPut, at, content, octets, http.StatusCreated)
	return err
}

// mount has the registry take a blob from another of its repositories, and reports whether
// it did. If not, that is for whoever copies it then to tell.
func (r *Registry) mount(ctx context.Context, from, to name.Repository, digest v1.Hash) bool {
	at := &url.URL{
		Scheme: to.Scheme(), Host: to.RegistryStr(), Path: "/v2/" + to.RepositoryStr() + "/blobs/uploads/",
		RawQuery: url.Values{"mount": {digest.String()}, "from": {from.RepositoryStr()}}.Encode(),
	}
	_, err := r.send(ctx, to, http.MethodPost, at, nil, "", http.StatusCreated)
	return err == nil
}

// putManifest stores a manifest by its digest, and nothing else, whatever it refers to.
func (r *Registry) putManifest(ctx context.Context, repo name.Repository, digest v1.Hash, m copied) error {
	at := &url.URL{
		Scheme: repo.Scheme(), Host: repo.RegistryStr(),
		Path: "/v2/" + repo.RepositoryStr() + "/manifests/" + digest.String(),
	}
	_, err := r.send(ctx, repo, http.MethodPut, at, m.raw, string(m.mediaType), http.StatusOK, http.StatusCreated, http.StatusAccepted)
	return err
}

// send makes a request with the credentials to write to repo. It returns the place that the
// answer names, or nil; a status that is not wanted is a *transport.Error.
func (r *Registry) send(ctx context.Context, repo name.Repository, method string, to *url.URL, body []byte, contentType string, want ...int) (location *url.URL, err error) {
	client, err := r.client(ctx, repo, transport.PushScope)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, to.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, want...); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // so that the connection is kept
		return nil, err
	}
	if resp.Header.Get("Location") == "" {
		return nil, nil
	}
	return resp.Request.URL.Parse(resp.Header.Get("Location"))
}
