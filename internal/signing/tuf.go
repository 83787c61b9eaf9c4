package signing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"sigstack/internal/durable"
	"sigstack/internal/trust"
)

// The most bytes of TUF metadata and targets; ours take a few KB.
const (
	maxTUFRoot      = 512 << 10
	maxTUFTimestamp = 16 << 10
	maxTUFMetadata  = 2 << 20
	maxTUFTarget    = 4 << 20
)

// What errors say of the mirror.
const (
	tufService = "TUF repository"
	tufNext    = "check that the URL is that of a TUF repository's metadata"
)

// TUF is a trust root that is fetched from a TUF repository.
type TUF struct {
	URL   string           // of the metadata; targets are below it in targets/
	Root  []byte           // root.json that is trusted by itself; later ones need its signatures
	Cache string           // directory that remembers what was seen, so that nothing older is accepted
	HTTP  *http.Client     // nil: NewHTTPClient
	Now   func() time.Time // what metadata must not have expired at

	// Offline takes everything from the cache, as long as it has not expired, and
	// makes no connection: what was revoked meanwhile is not known.
	Offline bool
}

// Kit fetches trusted_root.json and signing_config.v0.2.json by the TUF client
// workflow. A repository without the latter makes a kit for verification only.
// Metadata that is stale, tampered with, rolled back or signed by strangers is a
// *RefusedError at CheckTUF; a mirror that does not answer, an *UnreachableError;
// with Offline, a cache that was never filled is ErrNotCached.
func (t TUF) Kit(ctx context.Context) (*Kit, error) {
	if t.URL == "" || len(t.Root) == 0 || t.Cache == "" || t.Now == nil {
		return nil, errors.New("set up TUF client: URL, root, cache directory and clock are needed")
	}
	if t.HTTP == nil {
		t.HTTP = NewHTTPClient()
	}
	targets, err := t.fetch(ctx)
	if err != nil {
		return nil, t.explain(ctx, err)
	}
	return NewKit(t.URL, targets[trust.TrustedRootName], targets[trust.SigningConfigName])
}

// fetch returns the contents of the targets that make a kit, by name.
func (t TUF) fetch(ctx context.Context) (_ map[string][]byte, err error) {
	dir := t.dir()
	if t.Offline {
		if err := checkCached(dir); err != nil {
			return nil, err
		}
	}
	lock, err := lockCache(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	c, err := t.config(dir, func(url string, most int64) ([]byte, error) { return t.download(ctx, url, most) })
	if err != nil {
		return nil, err
	}
	u, err := updater.New(c)
	if err != nil {
		return nil, fmt.Errorf("load root: %w", err)
	}
	u.UnsafeSetRefTime(t.Now()) // upstream warns of it because it is for our own clock
	if err := u.Refresh(); err != nil {
		return nil, err
	}
	known := u.GetTopLevelTargets()
	if known[trust.TrustedRootName] == nil {
		return nil, &metadata.ErrRepository{Msg: "there is no target " + trust.TrustedRootName}
	}
	targets := map[string][]byte{}
	for _, name := range []string{trust.TrustedRootName, trust.SigningConfigName} {
		file := known[name]
		if file == nil {
			continue
		}
		if file.Length > maxTUFTarget {
			return nil, &metadata.ErrRepository{Msg: fmt.Sprintf("target %s has %d bytes, more than %d", name, file.Length, maxTUFTarget)}
		}
		if targets[name], err = target(u, file); err != nil {
			return nil, fmt.Errorf("target %s: %w", name, err)
		}
	}
	return targets, nil
}

// target returns a verified target from the cache, or else from the mirror.
func target(u *updater.Updater, file *metadata.TargetFiles) ([]byte, error) {
	if _, data, err := u.FindCachedTarget(file, ""); err == nil && data != nil {
		return data, nil
	}
	// Not there, or damaged: it is fetched anew.
	_, data, err := u.DownloadTarget(file, "", "")
	return data, err
}

// dir is the repository's own part of the cache: the bootstrap root is part of its
// name, so that what one root vouched for never stands for another.
func (t TUF) dir() string {
	sum := sha256.Sum256([]byte(strings.TrimSuffix(t.URL, "/") + "\n" + string(t.Root)))
	return filepath.Join(t.Cache, hex.EncodeToString(sum[:16]))
}

// lockCache waits for the cache: two processes at once might leave the older
// state behind, and with it forget that a newer one was seen.
func lockCache(ctx context.Context, dir string) (*durable.Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for {
		lock, err := durable.LockDir(dir)
		if !errors.Is(err, durable.ErrLocked) {
			return lock, err
		}
		if sleep(ctx, 20*time.Millisecond) != nil {
			return nil, fmt.Errorf("wait for TUF cache: %w: %w", err, ctx.Err())
		}
	}
}

func (t TUF) config(dir string, d downloader) (*config.UpdaterConfig, error) {
	seen, err := readCache(dir)
	if err != nil {
		return nil, err
	}
	root := t.Root
	if seen != nil {
		root = seen // the newest that the bootstrap root led to
	}
	c, err := config.New(t.URL, root)
	if err != nil {
		return nil, err
	}
	c.LocalMetadataDir, c.LocalTargetsDir = dir, filepath.Join(dir, "targets")
	c.RootMaxLength, c.TimestampMaxLength = maxTUFRoot, maxTUFTimestamp
	c.SnapshotMaxLength, c.TargetsMaxLength = maxTUFMetadata, maxTUFMetadata
	c.Fetcher, c.UnsafeLocalMode = d, t.Offline // go-tuf warns of it because newer metadata is not seen
	return c, nil
}

// readCache returns the cached root, nil if there is none, after checking that
// nothing in the cache is damaged: go-tuf would blame the mirror for that.
func readCache(dir string) (root []byte, err error) {
	for _, role := range []string{metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP, metadata.ROOT} {
		path := filepath.Join(dir, role+".json")
		root, err = os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			root = nil
			continue
		}
		if err != nil {
			return nil, err
		}
		if !json.Valid(root) {
			return nil, &fs.PathError{Op: "parse", Path: path, Err: errors.New("it is damaged; remove its directory to begin anew")}
		}
	}
	return root, nil
}

// explain classifies a failure: of the mirror, of the cache, or of the metadata.
func (t TUF) explain(ctx context.Context, err error) error {
	var unreachable *UnreachableError
	if errors.As(err, &unreachable) {
		if unreachable.Next == "" {
			unreachable.Next = "check that it is running, and its URL"
		}
		unreachable.Next += t.alternative(ctx)
		return err
	}
	var answered *ServiceError
	if errors.As(err, &answered) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var missing *metadata.ErrDownloadHTTP
	if errors.As(err, &missing) {
		return &ServiceError{
			Service: tufService, URL: missing.URL, Status: missing.StatusCode, Message: http.StatusText(missing.StatusCode), Next: tufNext,
		}
	}
	var path *fs.PathError
	var link *os.LinkError
	if errors.As(err, &path) || errors.As(err, &link) {
		return fmt.Errorf("use TUF cache: %w", err)
	}
	if t.Offline {
		return t.explainOffline(err)
	}
	reason := fmt.Errorf("%s: %w", t.URL, err)
	switch {
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		reason = fmt.Errorf("%w; the mirror is stale, or this machine's clock is wrong", reason)
	case errors.Is(err, &metadata.ErrBadVersionNumber{}):
		reason = fmt.Errorf("%w; the mirror offers older metadata than was seen before (%s)", reason, t.dir())
	}
	return refuse(CheckTUF, reason)
}

// downloader returns the file at url, of most bytes at most. It is go-tuf's
// Fetcher, which knows no context.
type downloader func(url string, most int64) ([]byte, error)

// DownloadFile implements fetcher.Fetcher.
func (d downloader) DownloadFile(url string, most int64, _ time.Duration) ([]byte, error) {
	return d(url, most)
}

// download is one call of the mirror. A file that is not there is go-tuf's
// ErrDownloadHTTP: that is how the newest root is told.
func (t TUF) download(ctx context.Context, url string, most int64) ([]byte, error) {
	if t.Offline {
		return nil, fmt.Errorf("%s: %w", url, ErrNotCached)
	}
	got, err := call(ctx, t.HTTP, request{
		service: tufService, method: http.MethodGet, url: url, next: tufNext,
	}, http.StatusOK, http.StatusNotFound)
	switch {
	case err != nil:
		return nil, err
	case got.status == http.StatusNotFound:
		return nil, &metadata.ErrDownloadHTTP{StatusCode: got.status, URL: url}
	case int64(len(got.body)) > most:
		return nil, &metadata.ErrDownloadLengthMismatch{Msg: fmt.Sprintf("%s has %d bytes, want %d at most", url, len(got.body), most)}
	}
	return got.body, nil
}
