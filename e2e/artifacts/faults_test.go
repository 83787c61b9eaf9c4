package artifacts

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/internal/oci"
)

// withFaults signs in registries that fail now and then: a signature that sigstack
// says is stored is there, whoever signs after it, and all that is there is whole.
func (s *site) withFaults(t *testing.T) {
	faults := map[string]e2etest.Faults{
		"500s": {Fault: e2etest.Answers500, Chance: 0.2},
		"cuts": {Fault: e2etest.CutsBefore, Chance: 0.2},
		"lost answers to writes": {Fault: e2etest.CutsAfter, Chance: 0.5, Matching: func(r *http.Request) bool {
			return r.Method == http.MethodPut
		}},
		"refused writes": {Fault: e2etest.Answers500, Matching: func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
		}},
	}
	for what, f := range faults {
		// Both are lists at a tag, which is what signers can lose.
		for storage, r := range map[string]registry{"tag": s.registries[0], "referrer": s.registries[1]} {
			t.Run(what+" by "+storage, func(t *testing.T) {
				t.Parallel()
				s.faulty(t, r.host, storage, f)
			})
		}
	}
}

// faulty signs an image several times by way of a front that fails.
func (s *site) faulty(t *testing.T, host, storage string, faults e2etest.Faults) {
	t.Helper()
	const signers = 2
	front := e2etest.FaultsInFrontOf(t, host)
	image := e2etest.PushImage(t, host, "faulty/"+strings.ToLower(strings.TrimPrefix(front.Address, "127.0.0.1:")))
	front.Inject(faults)
	stored := 0
	for range signers {
		r := e2etest.Run(t, []string{"SIGSTORE_ID_TOKEN=" + s.token}, e2etest.Sigstack(t), "sign", "--client", s.stack.Kit(""),
			"--storage", storage, "oci://"+front.Address+strings.TrimPrefix(image, host))
		switch {
		case r.Code == 0:
			stored++
		case !strings.Contains(r.Stderr, "registry "+front.Address):
			t.Errorf("exit %d, want the registry blamed\n%s", r.Code, r.Stderr)
		}
	}
	if front.Heal() == 0 {
		t.Error("no request failed")
	}
	verify := append([]string{"verify", "--client", s.stack.Kit(""), "--output", "json"}, s.stack.IdentityArgs()...)
	r := e2etest.Run(t, nil, e2etest.Sigstack(t), append(verify, "oci://"+image)...)
	if faults.Chance == 0 { // no write went through
		if stored > 0 || r.Code != 1 {
			t.Errorf("%d signatures were said to be stored, and verifying them ends with %d, want none and 1", stored, r.Code)
		}
		return
	}
	var got oci.Verified
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil && stored > 0 {
		t.Fatalf("%v: %s%s", err, r.Stdout, r.Stderr)
	}
	if len(got.Passed) < stored || len(got.Passed) != got.Found {
		t.Errorf("%d signatures passed of %d, want the %d that were stored\n%s", len(got.Passed), got.Found, stored, r.Stdout)
	}
}
