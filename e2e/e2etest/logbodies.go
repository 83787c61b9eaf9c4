package e2etest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// LogBodies returns the canonical bodies of all entries of a stack's transparency log,
// by index.
func LogBodies(t *testing.T, s *Stack) (bodies [][]byte) {
	t.Helper()
	for index := 0; ; index++ {
		status, answer := Get(t, fmt.Sprintf("%s/api/v1/log/entries?logIndex=%d", s.URL, index))
		if status == http.StatusNotFound {
			return bodies
		}
		var found map[string]struct {
			Body []byte `json:"body"`
		}
		if err := json.Unmarshal(answer, &found); err != nil || status != http.StatusOK {
			t.Fatalf("entry %d: %d %s", index, status, answer)
		}
		for _, e := range found {
			bodies = append(bodies, e.Body)
		}
	}
}
