package oci

import (
	"context"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// glance is what was read from registries, each thing once.
type glance struct {
	mu        sync.Mutex              // guards all that follows
	manifests map[string]gotten       // by reference
	lists     map[string]referrerList // by image
	blobs     map[v1.Hash][]byte
}

// gotten is a manifest as a registry gave it, or that there is none.
type gotten struct {
	raw       []byte
	mediaType types.MediaType
	err       error // a registry's 404
}

// Glance returns a Registry that reads each thing once: what it has read it takes for what
// is there, so that it judges one state of an image by all questions that it is asked. It is
// for one image and a short time. Of the manifests by digest that r, a glance itself, has
// read it knows those that known names. What it writes is written over nothing that it has
// not looked at anew.
func (r *Registry) Glance(known ...string) *Registry {
	g := *r
	g.glance = &glance{manifests: map[string]gotten{}, lists: map[string]referrerList{}, blobs: map[v1.Hash][]byte{}}
	for _, ref := range known {
		if got, ok := r.glance.manifest(ref); ok {
			g.glance.manifests[ref] = got
		}
	}
	return &g
}

// anew returns a Registry that takes nothing for known.
func (r *Registry) anew() *Registry {
	fresh := *r
	fresh.glance = nil
	return &fresh
}

// get reads a manifest.
func (r *Registry) get(ctx context.Context, ref name.Reference) (gotten, error) {
	if got, ok := r.glance.manifest(ref.Name()); ok {
		return got, got.err
	}
	desc, err := r.puller.Get(ctx, ref)
	if err != nil {
		if notFound(err) {
			r.glance.keep(gotten{err: err}, ref.Name())
		}
		return gotten{}, err
	}
	got := gotten{raw: desc.Manifest, mediaType: desc.MediaType}
	r.glance.keep(got, ref.Name(), ref.Context().Digest(hashOf(got.raw).String()).Name())
	return got, nil
}

func (g *glance) manifest(ref string) (gotten, bool) {
	if g == nil {
		return gotten{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	got, ok := g.manifests[ref]
	return got, ok
}

func (g *glance) keep(got gotten, refs ...string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, ref := range refs {
		g.manifests[ref] = got
	}
}

// absent reports whether the tag was looked for and not there.
func (g *glance) absent(tag name.Tag) bool {
	got, ok := g.manifest(tag.Name())
	return ok && got.err != nil
}

// list is what refers to the image, if that was read.
func (g *glance) list(img image) (referrerList, bool) {
	if g == nil {
		return referrerList{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	list, ok := g.lists[img.String()]
	return list, ok
}

func (g *glance) keepList(img image, list referrerList) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lists[img.String()] = list
}

func (g *glance) blob(digest v1.Hash) ([]byte, bool) {
	if g == nil {
		return nil, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	content, ok := g.blobs[digest]
	return content, ok
}

func (g *glance) keepBlob(digest v1.Hash, content []byte) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blobs[digest] = content
}

// forget is for a tag that was written since.
func (g *glance) forget(tag name.Tag) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.manifests, tag.Name())
}

// forgetList is for an image that something else refers to since.
func (g *glance) forgetList(img image) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.lists, img.String())
}
