package target_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"sigstack/tools/load/target"
)

// TestReplicasTakeTurns sends connections to replicas, and the URL's host along.
func TestReplicasTakeTurns(t *testing.T) {
	got := map[string]int{}
	var addresses []string
	for _, name := range []string{"a", "b"} {
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got[name+" "+r.Host]++ }))
		defer s.Close()
		addresses = append(addresses, s.Listener.Addr().String())
	}
	client, err := target.NewHTTPClient(1, nil, addresses...)
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		resp, err := client.Get("http://log.example/")
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		client.CloseIdleConnections()
	}
	if got["a log.example"] != 3 || got["b log.example"] != 3 || len(got) != 2 {
		t.Errorf("got %v, want 3 for each replica", got)
	}
}
