package signing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// ErrNotCached says that an offline TUF client's cache lacks what a kit is made of.
var ErrNotCached = errors.New("it is not in the cache")

// tufOnline is what helps whoever has nothing good in the cache.
const tufOnline = "verify once online, without --offline, which fills it"

// tufRoles are those whose metadata a cache holds, in the order of a refresh.
var tufRoles = [...]string{metadata.ROOT, metadata.TIMESTAMP, metadata.SNAPSHOT, metadata.TARGETS}

// checkCached checks that the metadata of all roles is there, before anything is
// written to a directory that nobody may have used yet.
func checkCached(dir string) error {
	for _, role := range tufRoles {
		if _, err := os.Stat(filepath.Join(dir, role+".json")); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s.json: %w", role, ErrNotCached)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// cachedUntil returns which role's cached metadata expires first, and when.
func cachedUntil(dir string) (first string, until time.Time, err error) {
	for _, role := range tufRoles {
		data, err := os.ReadFile(filepath.Join(dir, role+".json"))
		if err != nil {
			return "", time.Time{}, err
		}
		var m struct {
			Signed struct {
				Expires time.Time `json:"expires"`
			} `json:"signed"`
		}
		if err := json.Unmarshal(data, &m); err != nil {
			return "", time.Time{}, fmt.Errorf("parse %s.json: %w", role, err)
		}
		if first == "" || m.Signed.Expires.Before(until) {
			first, until = role+".json", m.Signed.Expires.UTC()
		}
	}
	return first, until, nil
}

// alternative tells whoever could not reach the mirror that the cache would do. It
// is empty if that would not: then it is no way out.
func (t TUF) alternative(ctx context.Context) string {
	t.Offline = true
	if _, err := t.fetch(ctx); err != nil {
		return ""
	}
	_, until, err := cachedUntil(t.dir())
	if err != nil {
		return ""
	}
	return "; to verify without it, --offline takes what was fetched last, which is good until " + until.Format(time.RFC3339)
}

// explainOffline classifies the failure of a client that asks no mirror.
func (t TUF) explainOffline(err error) error {
	switch {
	case errors.Is(err, ErrNotCached):
		return fmt.Errorf("no trust root of %s in %s: %w; %s", t.URL, t.dir(), err, tufOnline)
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		role, until, err := cachedUntil(t.dir())
		if err != nil {
			return fmt.Errorf("use TUF cache: %w", err)
		}
		return refuse(CheckTUF, fmt.Errorf("%s: the cached %s expired at %s; %s", t.URL, role, until.Format(time.RFC3339), tufOnline))
	}
	return refuse(CheckTUF, fmt.Errorf("%s: the cache in %s is not whole: %w; %s", t.URL, t.dir(), err, tufOnline))
}
