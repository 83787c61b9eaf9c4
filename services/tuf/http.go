package tuf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// Mount adds the service's routes to mux. There are no directory listings, and
// only names that clients have a use for are looked up at all.
func (s *Service) Mount(mux *httpd.Mux) {
	g := mux.Group("tuf", httpd.RESTErrors).As(httpd.Public)
	g.Handle(http.MethodGet, "/tuf/{name}", 0, func(w http.ResponseWriter, r *http.Request) error {
		return s.metadata(w, r, r.PathValue("name"))
	})
	g.Handle(http.MethodGet, "/tuf/targets/{name}", 0, func(w http.ResponseWriter, r *http.Request) error {
		return s.metadata(w, r, "targets/"+r.PathValue("name"))
	})
	g.Handle(http.MethodGet, "/client/{name}", 0, s.kit)
}

// metadata serves a file of the repository.
func (s *Service) metadata(w http.ResponseWriter, r *http.Request, name string) error {
	cache := "no-cache"
	if !tufroot.Serves(name) {
		return notFound(w)
	}
	if tufroot.Immutable(name) {
		cache = "public, max-age=31536000, immutable"
	}
	return serveFile(w, r, s.cfg.Repository.Dir(), name, cache)
}

func (s *Service) kit(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if !slices.Contains(trust.KitNames(), name) {
		return notFound(w)
	}
	return serveFile(w, r, s.cfg.KitDir, name, "no-cache")
}

// notFound keeps caches from remembering that a file was missing: clients look
// for the next root by its number until it is there.
func notFound(w http.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-cache")
	return fault.New(fault.NotFound, "no such file")
}

// contentTypes by file name extension.
var contentTypes = map[string]string{
	".json": "application/json",
	".pem":  "application/x-pem-file",
	".pub":  "application/x-pem-file",
	".sh":   "text/plain; charset=utf-8",
	".txt":  "text/plain; charset=utf-8",
}

// serveFile answers with one file below dir, or 304 when the client has it.
func serveFile(w http.ResponseWriter, r *http.Request, dir, name, cache string) error {
	data, found, err := readFile(dir, name)
	if err != nil {
		return err
	}
	if !found {
		return notFound(w)
	}
	contentType := contentTypes[path.Ext(name)]
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	sum := sha256.Sum256(data)
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", cache)
	h.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	return nil
}

// readFile reads a regular file. os.Root refuses any path or symbolic link that
// leads out of dir; to clients that is a file that does not exist.
func readFile(dir, name string) (data []byte, found bool, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, false, fmt.Errorf("open directory: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	info, err := root.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular(), errors.Is(err, fs.ErrNotExist), err != nil && isLink(root, name):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("find file: %w", err)
	}
	data, err = root.ReadFile(name)
	if err != nil {
		return nil, false, fmt.Errorf("read file: %w", err)
	}
	return data, true, nil
}

func isLink(root *os.Root, name string) bool {
	info, err := root.Lstat(name)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}
