package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Limits on a list of referrers.
const (
	maxPages     = 50
	maxReferrers = 10_000
	maxRedirects = 10
)

// referrerList is what refers to an image.
type referrerList struct {
	descs  []v1.Descriptor
	native bool // by the registry's Referrers API, not by the fallback tag
}

// pushReferrer stores a bundle as a manifest whose subject is img (B2), and
// returns that manifest's digest. created is RFC 3339.
func (r *Registry) pushReferrer(ctx context.Context, img image, bundle []byte, predicateType, created string) (v1.Hash, error) {
	raw, err := referrerManifest(img, bundle, predicateType, created)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := r.uploadReferrer(ctx, img.repo, bundle); err != nil {
		return v1.Hash{}, fmt.Errorf("store bundle: %w", explain(img.repo.RegistryStr(), err))
	}
	digest := hashOf(raw)
	if err := r.putReferrer(ctx, img, digest, copied{raw, types.OCIManifestSchema1}); err != nil {
		return v1.Hash{}, fmt.Errorf("store bundle as referrer of %s: %w", img, err)
	}
	return digest, nil
}

// uploadReferrer stores the blobs of a referrer, of which the empty one is in the
// repository already after the first.
func (r *Registry) uploadReferrer(ctx context.Context, repo name.Repository, bundle []byte) error {
	if _, there := r.emptied.Load(repo.Name()); !there {
		if err := r.upload(ctx, repo, []byte("{}")); err != nil {
			return err
		}
		r.emptied.Store(repo.Name(), true)
	}
	return r.upload(ctx, repo, bundle)
}

// putReferrer writes a manifest whose subject is img, and sees to it that it is listed.
// Where there is no Referrers API this also adds to the index at the fallback tag, which
// two writers can do at once like any other tag.
func (r *Registry) putReferrer(ctx context.Context, img image, digest v1.Hash, m copied) error {
	list, known := r.glance.list(img)
	noAPI := known && !list.native
	r.glance.forgetList(img)
	r.glance.forget(img.tag(""))
	r = r.anew()
	listed := false // by the word of the registry, whose list nobody else can overwrite
	return r.untilKept(ctx, write{
		make: func(ctx context.Context) (err error) {
			first := known
			known = false
			listed, err = r.writeReferrer(ctx, img, digest, m, first, list.native)
			return explain(img.repo.RegistryStr(), err)
		},
		look: func(ctx context.Context) (bool, error) {
			if listed {
				return true, nil
			}
			list, err := r.listWhere(ctx, img, noAPI)
			if err == nil && !holdsDigest(list.descs, digest) {
				err = errChanged
			}
			return list.native, err
		},
		told: func(err error) error { return err },
	})
}

// writeReferrer stores the manifest and, if the registry is known to have no Referrers API,
// adds it to the index at the fallback tag. Of a registry that is not known, or that does
// not take it so, go-containerregistry finds out. With the API listed is whether the
// registry says that it lists the manifest.
func (r *Registry) writeReferrer(ctx context.Context, img image, digest v1.Hash, m copied, known, native bool) (listed bool, err error) {
	if known {
		subject, err := r.putManifest(ctx, img.repo, digest, m)
		if err == nil && !native {
			err = r.addToFallback(ctx, img, digest, m)
		}
		if err == nil || ctx.Err() != nil {
			return native && subject == img.desc.Digest.String(), err
		}
	}
	return false, r.pusher.Put(ctx, img.repo.Digest(digest.String()), m)
}

// addToFallback lists a referrer in the index at the fallback tag.
func (r *Registry) addToFallback(ctx context.Context, img image, digest v1.Hash, m copied) error {
	index := v1.IndexManifest{SchemaVersion: 2}
	got, err := r.get(ctx, img.tag(""))
	switch {
	case notFound(err):
	case err != nil:
		return err
	default:
		descs, err := parseIndex(got.raw)
		if err != nil {
			return err
		}
		if holdsDigest(descs, digest) {
			return nil
		}
		if err := json.Unmarshal(got.raw, &index); err != nil {
			return fmt.Errorf("parse index: %w", err)
		}
	}
	desc, err := describe(digest, m)
	if err != nil {
		return err
	}
	index.MediaType, index.Manifests = types.OCIImageIndex, append(index.Manifests, desc)
	slices.SortFunc(index.Manifests, func(a, b v1.Descriptor) int { return cmp.Compare(a.Digest.String(), b.Digest.String()) })
	raw, err := json.Marshal(index)
	if err != nil {
		return fmt.Errorf("encode index: %w", err)
	}
	return r.pusher.Put(ctx, img.tag(""), copied{raw, types.OCIImageIndex})
}

// describe is the entry of a referrer in a list (OCI distribution 1.1, "Pushing Manifests
// with Subject").
func describe(digest v1.Hash, m copied) (v1.Descriptor, error) {
	var stated v1.Manifest
	if err := json.Unmarshal(m.raw, &stated); err != nil {
		return v1.Descriptor{}, fmt.Errorf("parse manifest: %w", err)
	}
	return v1.Descriptor{
		MediaType: m.mediaType, Digest: digest, Size: int64(len(m.raw)),
		ArtifactType: cmp.Or(stated.ArtifactType, string(stated.Config.MediaType)), Annotations: stated.Annotations,
	}, nil
}

func referrerManifest(img image, bundle []byte, predicateType, created string) ([]byte, error) {
	subject := img.desc
	raw, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  string(bundleType),
		Config:        v1.Descriptor{MediaType: emptyType, Digest: hashOf([]byte("{}")), Size: 2},
		Layers:        []v1.Descriptor{{MediaType: bundleType, Digest: hashOf(bundle), Size: int64(len(bundle))}},
		Subject:       &subject,
		Annotations: map[string]string{
			createdKey:         created,
			contentKey:         "dsse-envelope",
			bundlePredicateKey: predicateType,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return raw, nil
}

// referrers lists what refers to img: every page of the Referrers API, without
// its filter, because some registries filter by the config's type; where there is
// no such API, the index at the fallback tag (OCI distribution 1.1, "Listing
// Referrers").
func (r *Registry) referrers(ctx context.Context, img image) (referrerList, error) {
	if list, ok := r.glance.list(img); ok {
		return list, nil
	}
	list, err := r.listReferrers(ctx, img)
	if err == nil {
		r.glance.keepList(img, list)
	}
	return list, err
}

// listWhere lists what refers to img where it is known to be listed.
func (r *Registry) listWhere(ctx context.Context, img image, noAPI bool) (referrerList, error) {
	if noAPI {
		return r.fallback(ctx, img)
	}
	return r.listReferrers(ctx, img)
}

func (r *Registry) listReferrers(ctx context.Context, img image) (referrerList, error) {
	registry := img.repo.RegistryStr()
	client, err := r.client(ctx, img.repo, transport.PullScope)
	if err != nil {
		return referrerList{}, fmt.Errorf("list referrers: %w", explain(registry, err))
	}
	list := referrerList{native: true}
	next := &url.URL{
		Scheme: img.repo.Scheme(), Host: registry,
		Path: "/v2/" + img.repo.RepositoryStr() + "/referrers/" + img.desc.Digest.String(),
	}
	for i := range maxPages {
		page, err := getPage(ctx, client, next)
		switch {
		case errors.Is(err, errNoAPI) && i == 0:
			return r.fallback(ctx, img)
		case err != nil:
			return referrerList{}, fmt.Errorf("list referrers: page %d: %w", i+1, explain(registry, err))
		}
		list.descs = append(list.descs, page.descs...)
		if next = page.next; next == nil || len(list.descs) > maxReferrers {
			break
		}
	}
	if next != nil || len(list.descs) > maxReferrers {
		return referrerList{}, fmt.Errorf("list referrers of %s: there are more than %d, or more than %d pages", img, maxReferrers, maxPages)
	}
	return list, nil
}

// client returns a client with the credentials for what scope names in repo: the same one
// each time, since a new one logs in.
func (r *Registry) client(ctx context.Context, repo name.Repository, scope string) (*http.Client, error) {
	key := scope + " " + repo.Name()
	if known, ok := r.clients.Load(key); ok {
		return known.(*http.Client), nil
	}
	auth, err := authn.Resolve(ctx, r.keychain, repo)
	if err != nil {
		return nil, err
	}
	t, err := transport.NewWithContext(ctx, repo.Registry, auth, transport.NewRetry(r.transport), []string{repo.Scope(scope)})
	if err != nil {
		return nil, err
	}
	client, _ := r.clients.LoadOrStore(key, &http.Client{Transport: t, CheckRedirect: stayAtHost})
	return client.(*http.Client), nil
}

// stayAtHost follows redirects within the registry only: it could name any service
// that we reach and it does not, this machine's own among them.
func stayAtHost(next *http.Request, via []*http.Request) error {
	if first := via[0].URL; next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
		return fmt.Errorf("redirected to another host, %s", next.URL.Host)
	}
	if len(via) >= maxRedirects {
		return fmt.Errorf("redirected %d times", len(via))
	}
	return nil
}

// errNoAPI says that a registry does not know the Referrers API.
var errNoAPI = errors.New("no referrers API")

type page struct {
	descs []v1.Descriptor
	next  *url.URL // nil on the last page
}

func getPage(ctx context.Context, client *http.Client, from *url.URL) (page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), nil)
	if err != nil {
		return page{}, err
	}
	req.Header.Set("Accept", string(types.OCIImageIndex))
	resp, err := client.Do(req)
	if err != nil {
		return page{}, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable:
		return page{}, errNoAPI
	default:
		return page{}, transport.CheckError(resp, http.StatusOK)
	}
	if t, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); types.MediaType(t) != types.OCIImageIndex {
		return page{}, errNoAPI
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return page{}, err
	}
	descs, err := parseIndex(data)
	if err != nil {
		return page{}, err
	}
	next, err := nextPage(from, resp.Header.Get("Link"))
	return page{descs, next}, err
}

// nextPage reads a Link header (RFC 8288) of the form <URL>; rel="next". A next
// page on another host would be asked with this one's credentials, so it is
// refused.
func nextPage(from *url.URL, link string) (*url.URL, error) {
	target, params, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
	if link == "" || !ok || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
		return nil, nil
	}
	next, err := from.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("read link to next page: %w", err)
	}
	if next.Host != from.Host {
		return nil, fmt.Errorf("the next page is said to be on another host, %s", next.Host)
	}
	next.Scheme = from.Scheme
	return next, nil
}

// fallback reads the index at the tag that lists referrers where there is no API.
func (r *Registry) fallback(ctx context.Context, img image) (referrerList, error) {
	got, err := r.get(ctx, img.tag(""))
	if notFound(err) {
		return referrerList{}, nil
	}
	if err != nil {
		return referrerList{}, fmt.Errorf("list referrers: %w", explain(img.repo.RegistryStr(), err))
	}
	descs, err := parseIndex(got.raw)
	if err != nil {
		return referrerList{}, fmt.Errorf("list referrers: the index at %s: %w", img.tag(""), err)
	}
	return referrerList{descs: descs}, nil
}

// parseIndex reads an OCI image index.
func parseIndex(data []byte) ([]v1.Descriptor, error) {
	if len(data) > maxManifest {
		return nil, fmt.Errorf("%d bytes is more than %d", len(data), maxManifest)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("parse index: %w", err)
	}
	if index.SchemaVersion != 2 || index.MediaType != "" && index.MediaType != types.OCIImageIndex {
		return nil, fmt.Errorf("parse index: it is a %q of version %d", index.MediaType, index.SchemaVersion)
	}
	if err := checkDigests(index.Manifests); err != nil {
		return nil, fmt.Errorf("parse index: %w", err)
	}
	return index.Manifests, nil
}
