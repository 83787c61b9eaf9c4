// Package negatives holds every client to refusing each way of cheating, for the
// right reason.
package negatives

import (
	"encoding/json"
	"os"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

// text is a JSON text.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// object is a JSON object.
type object = map[string]any
