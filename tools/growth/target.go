package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// target is a log that is measured.
type target struct {
	*server
	dir     string
	size    uint64 // when reads are measured
	each    uint64 // adds at a time
	signers []signer
	client  *http.Client
	next    uint64            // the next proposal
	places  [reads]identified // entries at random places
}

// identified is what an entry is found by.
type identified struct{ id, hash string }

func newTarget(dir string, size, adds uint64) *target {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: time.Minute}
	return &target{dir: dir, size: size, each: adds, client: client, next: uint64(time.Now().UnixNano())} // no proposal of prefill's
}

func (t *target) reads() uint64 { return reads }
func (t *target) adds() uint64  { return t.each }

func (t *target) stop() error {
	t.client.CloseIdleConnections()
	return t.server.stop()
}

// cost is the CPU time that n operations take, for each of them.
func (t *target) cost(ctx context.Context, n uint64, do func(*target, context.Context, uint64) error) (time.Duration, error) {
	before, err := t.cpu()
	if err != nil {
		return 0, err
	}
	err = atOnce(ctx, clients, n, func(uint64) {}, func(ctx context.Context, i uint64) error { return do(t, ctx, i) })
	if err != nil {
		return 0, err
	}
	after, err := t.cpu()
	t.next += n
	return (after - before) / time.Duration(n), err
}

// place is a place in the log, all over it and never twice in a row.
func (t *target) place(i uint64) uint64 { return i * 7919 % t.size }

func (t *target) getByIndex(ctx context.Context, i uint64) error {
	body, err := t.ask(ctx, http.MethodGet, fmt.Sprintf("/api/v1/log/entries?logIndex=%d", t.place(i)), nil, http.StatusOK)
	if err != nil {
		return err
	}
	t.places[i], err = identify(body)
	return err
}

func (t *target) getByID(ctx context.Context, i uint64) error {
	body, err := t.ask(ctx, http.MethodGet, "/api/v1/log/entries/"+t.places[i].id, nil, http.StatusOK)
	if err != nil {
		return err
	}
	got, err := identify(body)
	if err == nil && got != t.places[i] {
		err = fmt.Errorf("asked for %v, got %v", t.places[i], got)
	}
	return err
}

// search looks for what an entry is a signature of.
func (t *target) search(ctx context.Context, i uint64) error {
	question := fmt.Appendf(nil, `{"hash":"sha256:%s"}`, t.places[i].hash)
	body, err := t.ask(ctx, http.MethodPost, "/api/v1/index/retrieve", question, http.StatusOK)
	if err != nil {
		return err
	}
	var found []string
	err = json.Unmarshal(body, &found)
	if err == nil && !slices.Contains(found, t.places[i].id) {
		err = fmt.Errorf("found %q, want %s among it", found, t.places[i].id)
	}
	return err
}

func (t *target) consistency(ctx context.Context, i uint64) error {
	_, err := t.ask(ctx, http.MethodGet, fmt.Sprintf("/api/v1/log/proof?firstSize=%d&lastSize=%d", t.place(i)+1, t.size), nil, http.StatusOK)
	return err
}

func (t *target) add(ctx context.Context, i uint64) error {
	proposal, err := propose(t.signers, t.next+i)
	if err != nil {
		return err
	}
	body, err := t.ask(ctx, http.MethodPost, "/api/v1/log/entries", proposal, http.StatusCreated)
	if err != nil {
		return err
	}
	_, err = identify(body)
	return err
}

// identify reads an answer with one entry.
func identify(answer []byte) (identified, error) {
	var entries map[string]struct {
		Body []byte `json:"body"`
	}
	if err := json.Unmarshal(answer, &entries); err != nil {
		return identified{}, err
	}
	type digest struct {
		Value string `json:"value"`
	}
	for id, e := range entries {
		var body struct {
			Spec struct {
				PayloadHash digest `json:"payloadHash"` // of a dsse
				Data        struct {
					Hash digest `json:"hash"` // of a hashedrekord
				} `json:"data"`
			} `json:"spec"`
		}
		err := json.Unmarshal(e.Body, &body)
		return identified{id, body.Spec.Data.Hash.Value + body.Spec.PayloadHash.Value}, err
	}
	return identified{}, errors.New("an answer without an entry")
}

// ask sends a request and returns the answer, which must have the status.
func (t *target) ask(ctx context.Context, method, path string, body []byte, status int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, t.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode != status {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	return answer, nil
}
