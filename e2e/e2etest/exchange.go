package e2etest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
)

// Exchange sends JSON by a client of the caller's, and returns the whole answer; an error
// is of the way there or back.
func Exchange(ctx context.Context, client *http.Client, method, url string, body []byte) (int, http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, answer, errors.Join(err, resp.Body.Close())
}
