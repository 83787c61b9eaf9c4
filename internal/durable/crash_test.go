package durable_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"sigstack/internal/durable"
)

// fileVariable makes this test binary a writer that replaces the file of that
// name for ever, and says on stdout which version is in place.
const fileVariable = "DURABLE_TEST_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(fileVariable); path != "" {
		panic(replaceForEver(path)) // the parent kills us; whatever else is a failure
	}
	os.Exit(m.Run())
}

func replaceForEver(path string) error {
	for n := 1; ; n++ {
		if err := durable.WriteFile(path, version(n), 0o600); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
}

// version is long enough that a torn write would show.
func version(n int) []byte { return bytes.Repeat([]byte(strconv.Itoa(n)+"\n"), 20_000) }

// TestWriteFileSurvivesKill kills a writer at a moment of its own choosing: the
// file holds a whole version, and none older than the last acknowledged one.
func TestWriteFileSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for round := range 10 {
		acknowledged := writeUntilKilled(t, path, round+1)
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := bytes.Cut(got, []byte("\n"))
		n, err := strconv.Atoi(string(line))
		if err != nil || !bytes.Equal(got, version(n)) {
			t.Fatalf("round %d: %d bytes that start with %.20q are no whole version", round, len(got), got)
		}
		if n < acknowledged {
			t.Errorf("round %d: file holds version %d, but %d was acknowledged", round, n, acknowledged)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "f" && !durable.IsTemp(e.Name(), "f") {
			t.Errorf("a killed writer left %s, which IsTemp does not know", e.Name())
		}
	}
}

// writeUntilKilled runs a writer, kills it in the middle of the write after
// version n and returns the last version that it acknowledged.
func writeUntilKilled(t *testing.T, path string, n int) (acknowledged int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fileVariable+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if acknowledged, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
		if acknowledged == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the writer ended by itself")
	}
	if acknowledged < n {
		t.Fatalf("the writer ended after version %d, want %d at least", acknowledged, n)
	}
	return acknowledged
}

func TestMkdirAll(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "a", "b", "c")
	for range 2 {
		if err := durable.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for d := dir; d != top; d = filepath.Dir(d) {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want a directory with 0700", d, info, err)
		}
	}
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.MkdirAll(filepath.Join(file, "x"), 0o700); err == nil {
		t.Error("a directory below a file was made")
	}
}
