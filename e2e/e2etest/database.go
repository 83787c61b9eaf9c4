package e2etest

import (
	"os"
	"testing"

	"sigstack/internal/pgtest"
)

// databaseArgs are what a new stack in dir needs for its logs to be in a database of
// its own. The file with the URL lies beside dir.
func databaseArgs(t *testing.T, dir string) ([]string, error) {
	file := dir + ".database-url"
	if err := os.WriteFile(file, []byte(pgtest.New(t).URL+"\n"), 0o600); err != nil {
		return nil, err
	}
	return []string{"--database-url-file", file}, nil
}
