package tlog_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestNoSilentFile flips bits of every file of the database, and takes each away.
func TestNoSilentFile(t *testing.T) {
	inLog := newWholeLog(t)
	random := rand.New(rand.NewPCG(5, 6))
	for name, base := range map[string]*wholeLog{"in the write-ahead log": inLog, "in tables": inLog.flushed(t)} {
		files := base.files(t)
		for file, content := range files {
			if file == "LOCK" || !inUse(file, files) {
				continue
			}
			t.Run(name+"/"+file, func(t *testing.T) {
				l := base.clone(t)
				if err := l.fs.Remove(dbDir + "/" + file); err != nil {
					t.Fatal(err)
				}
				// Without a write-ahead log in which nothing is, nothing is lost.
				if r := l.check(t); r.Count == 0 && len(content) > 11 {
					t.Error("taken away, and nothing was reported")
				}
				for _, n := range []int{1, len(content) / 2} {
					l := base.clone(t)
					l.write(t, file, content[:max(0, len(content)-n)])
					// A record that is cut off is what a crash leaves, which is a note; so is a
					// log without its last byte, which is that of no row.
					if r := l.check(t); r.Count == 0 && len(content) > 11 && !strings.Contains(strings.Join(r.Notes, " "), file) {
						t.Errorf("%d of %d bytes cut off, and nothing was reported; notes %q", n, len(content), r.Notes)
					}
				}
				step := max(1, len(content)/150)
				for at := 0; at < len(content); at += step {
					l := base.clone(t)
					bit := 8*at + random.IntN(8)
					l.write(t, file, flip(content, bit))
					// Another value of an option is a note, which no other file gets.
					if r := l.check(t); r.Count == 0 && !(strings.HasPrefix(file, "OPTIONS") && strings.Contains(strings.Join(r.Notes, " "), file)) {
						t.Errorf("bit %d of byte %d of %d flipped, and nothing was reported; notes %q", bit%8, at, len(content), r.Notes)
					}
				}
			})
		}
		l := base.clone(t)
		l.write(t, "000999.txt", []byte("x"))
		if r := l.check(t); r.Count == 0 {
			t.Errorf("%s: a file was added, and nothing was reported", name)
		}
	}
}

// inUse tells whether there is no newer file of the kind.
func inUse(file string, files map[string][]byte) bool {
	kind := func(name string) string {
		if name[0] == '0' {
			return filepath.Ext(name)
		}
		return strings.TrimRight(name[:min(len(name), 16)], "0123456789-")
	}
	for other := range files {
		if kind(other) == kind(file) && other > file && kind(file) != ".sst" {
			return false
		}
	}
	return true
}

func (l *wholeLog) write(t *testing.T, file string, content []byte) {
	t.Helper()
	f, err := l.fs.Create(dbDir+"/"+file, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Clone(content)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNoSilentHead flips every bit of the head files, and takes them away.
func TestNoSilentHead(t *testing.T) {
	base := newWholeLog(t)
	for i, tree := range base.trees {
		content, err := os.ReadFile(tree.HeadFile)
		if err != nil {
			t.Fatal(err)
		}
		for at := range content {
			bit := 8*at + at%8
			l := base.clone(t)
			if err := os.WriteFile(l.trees[i].HeadFile, flip(content, bit), 0o600); err != nil {
				t.Fatal(err)
			}
			if r := l.check(t); r.Count == 0 {
				t.Errorf("%s: bit %d flipped, and nothing was reported", tree.Name, bit)
			}
		}
		l := base.clone(t)
		if err := os.Rename(l.trees[i].HeadFile, filepath.Join(l.heads, "other")); err != nil {
			t.Fatal(err)
		}
		if r := l.check(t); r.Count != 2 { // one is missing, one is nobody's
			t.Errorf("%s: renamed, and reported was %v", tree.Name, r.Problems)
		}
	}
}
