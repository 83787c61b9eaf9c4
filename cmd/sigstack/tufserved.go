package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"sigstack/internal/signing"
	"sigstack/internal/stack"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// tufStatusOfURL shows what a stack serves to anybody.
func (a *app) tufStatusOfURL(ctx context.Context, url string, tls tlsFlag) error {
	given, err := tls.authorities()
	if err != nil {
		return err
	}
	client, err := given.HTTPClient(url)
	if err != nil {
		return usagef("--url: %w", err)
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	st, err := servedTUF{client, url}.status(ctx)
	if err != nil {
		return err
	}
	a.result(st, func() { a.printTUF(st, url) })
	return nil
}

// servedTUF is a repository as anybody may read it.
type servedTUF struct {
	client *http.Client
	url    string
}

// maxMetadata bounds what is read of one file, in bytes, and maxRoots how many roots.
const (
	maxMetadata = 1 << 20
	maxRoots    = 1000
)

func (s servedTUF) status(ctx context.Context) (st stack.TUFStatus, err error) {
	first, newest, err := s.roots(ctx)
	if err != nil {
		return st, err
	}
	st.RootSHA256 = trust.RootSHA256(first)
	root, err := tufroot.ParseDocument(newest)
	if err != nil {
		return st, err
	}
	metas := map[string]onlineRole{}
	next := "timestamp.json"
	for _, role := range []string{"timestamp", "snapshot", "targets"} {
		data, err := s.get(ctx, next)
		if err != nil {
			return st, err
		}
		var m struct {
			Signed onlineRole `json:"signed"`
		}
		if err := json.Unmarshal(data, &m); err != nil {
			return st, fmt.Errorf("read %s of %s: %w", next, s.url, err)
		}
		metas[role] = m.Signed
		for name, below := range m.Signed.Meta {
			next = strconv.FormatInt(below.Version, 10) + "." + name
		}
	}
	for _, r := range root.Roles {
		role, err := stack.NewTUFRole(r)
		if err != nil {
			return st, err
		}
		role.Version, role.Expires = metas[r.Role].Version, metas[r.Role].Expires
		if r.Role == root.Role {
			role.Version, role.Expires = root.Version, root.Expires
		}
		st.Roles = append(st.Roles, role)
	}
	return st, nil
}

// onlineRole is what metadata says of itself and of what it refers to.
type onlineRole struct {
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`
	Meta    map[string]struct {
		Version int64 `json:"version"`
	} `json:"meta"`
}

// roots reads the first root and the newest.
func (s servedTUF) roots(ctx context.Context) (first, newest []byte, err error) {
	for v := 1; v <= maxRoots; v++ {
		data, err := s.get(ctx, strconv.Itoa(v)+".root.json")
		if errors.Is(err, errNotServed) && v > 1 {
			return first, newest, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if newest = data; v == 1 {
			first = data
		}
	}
	return nil, nil, fmt.Errorf("%s serves more than %d roots", s.url, maxRoots)
}

// errNotServed is matched when a file is not there.
var errNotServed = errors.New("not served")

func (s servedTUF) get(ctx context.Context, name string) (data []byte, err error) {
	url := s.url + "/tuf/" + name
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, usagef("--url: %w", err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, signing.Unreachable("trust root", s.url, err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s: %w: is this the URL of a stack?", url, errNotServed)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, signing.Unreachable("trust root", s.url, fmt.Errorf("%s answers %s", url, resp.Status))
	}
	if data, err = io.ReadAll(io.LimitReader(resp.Body, maxMetadata)); err != nil {
		return nil, signing.Unreachable("trust root", s.url, err)
	}
	return data, nil
}
