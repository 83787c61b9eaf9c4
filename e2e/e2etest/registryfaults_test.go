package e2etest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestFaultyRegistry(t *testing.T) {
	f := FaultsInFrontOf(t, ReferrersRegistry(t))
	PushImage(t, f.Address, "before")
	url := "http://" + f.Address + "/v2/before/manifests/v1"
	f.Inject(Faults{After: 2})
	for i, want := range []int{200, 200, 500, 500} {
		if got, _ := Get(t, url); got != want {
			t.Errorf("request %d: got %d, want %d", i+1, got, want)
		}
	}
	if failed := f.Heal(); failed != 2 {
		t.Errorf("got %d failures, want 2", failed)
	}
	f.Inject(Faults{Fault: CutsAfter, Matching: func(r *http.Request) bool { return r.Method == http.MethodPut }})
	if resp, err := HTTP.Do(put(t, "http://"+f.Address+"/v2/before/manifests/cut")); err == nil {
		_ = resp.Body.Close()
		t.Errorf("got %s, want the connection cut", resp.Status)
	}
	if got := f.Requests(); got == 0 {
		t.Error("no request was counted")
	}
	f.Heal()
	if got, _ := Get(t, "http://"+f.Address+"/v2/before/manifests/cut"); got != http.StatusOK {
		t.Errorf("a request whose answer was cut off: got %d, want it carried out", got)
	}
	f.Inject(Faults{Chance: 0.5})
	for range 100 {
		Get(t, url)
	}
	if failed := f.Heal(); failed < 25 || failed > 75 {
		t.Errorf("got %d of 100 failures, want about 50", failed)
	}
}

// put is a request that stores an empty index.
func put(t *testing.T, url string) *http.Request {
	t.Helper()
	const index = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(index))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	return req
}

func TestPasswordRegistry(t *testing.T) {
	open := ReferrersRegistry(t)
	PushImage(t, open, "app")
	ref, err := name.ParseReference(PasswordRegistry(t, open, "alice", "s3cret") + "/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		auth authn.Authenticator
		ok   bool
	}{
		{"nobody", authn.Anonymous, false},
		{"wrong password", &authn.Basic{Username: "alice", Password: "wrong"}, false},
		{"right password", &authn.Basic{Username: "alice", Password: "s3cret"}, true},
	} {
		_, err := remote.Get(ref, remote.WithContext(t.Context()), remote.WithAuth(c.auth))
		if (err == nil) != c.ok {
			t.Errorf("%s: got %v, want success %v", c.name, err, c.ok)
		}
	}
}
