package audit_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/audit"
)

// resealed returns line with a hash that fits what its content now is.
func resealed(line string) string {
	content, _, _ := strings.Cut(line, `,"hash":"`)
	return fmt.Sprintf("%s,\"hash\":\"%x\"}\n", content, sha256.Sum256([]byte(content)))
}

// tampering changes one line of a file, or what is around it. It returns nil where
// there is nothing of the kind to do.
var tampering = map[string]func(lines []string, i int) []string{
	"removed": func(lines []string, i int) []string {
		return append(lines[:i:i], lines[i+1:]...)
	},
	"all from here removed": func(lines []string, i int) []string { return lines[:i] },
	"all up to here removed": func(lines []string, i int) []string {
		return lines[i+1:]
	},
	"cut in the middle": func(lines []string, i int) []string {
		return append(lines[:i:i], lines[i][:len(lines[i])/2])
	},
	"newline removed": func(lines []string, i int) []string {
		return with(lines, i, strings.TrimSuffix(lines[i], "\n"))
	},
	"swapped with the next": func(lines []string, i int) []string {
		if i+1 == len(lines) {
			return nil
		}
		changed := with(lines, i, lines[i+1])
		changed[i+1] = lines[i]
		return changed
	},
	"doubled": func(lines []string, i int) []string {
		return append(append(lines[:i+1:i+1], lines[i]), lines[i+1:]...)
	},
	"edited": func(lines []string, i int) []string {
		return with(lines, i, strings.Replace(lines[i], `"outcome":"ok"`, `"outcome":"no"`, 1))
	},
	"edited, with a new hash": func(lines []string, i int) []string {
		return with(lines, i, resealed(strings.Replace(lines[i], `"outcome":"ok"`, `"outcome":"no"`, 1)))
	},
	"one bit flipped": func(lines []string, i int) []string {
		line := []byte(lines[i])
		line[(i*37)%(len(line)-1)] ^= 1
		return with(lines, i, string(line))
	},
	"space added": func(lines []string, i int) []string {
		return with(lines, i, strings.Replace(lines[i], ",", ", ", 1))
	},
	"a member added": func(lines []string, i int) []string {
		return with(lines, i, resealed(strings.Replace(lines[i], `,"hash"`, `,"note":"x","hash"`, 1)))
	},
	"an empty line added": func(lines []string, i int) []string {
		return append(append(lines[:i+1:i+1], "\n"), lines[i+1:]...)
	},
	"a forged line added": func(lines []string, i int) []string {
		r, err := audit.ParseLine([]byte(strings.TrimSuffix(lines[i], "\n")))
		if err != nil {
			return nil
		}
		line := fmt.Sprintf("{\"seq\":%d,\"time\":\"2026-01-01T00:00:00.000Z\",\"prev\":\"%x\",\"action\":\"ca.certificate\",\"outcome\":\"ok\"", r.Seq+1, r.Hash)
		return append(append(lines[:i+1:i+1], resealed(line)), lines[i+1:]...)
	},
	"replaced by one of another record": func(lines []string, i int) []string {
		line := strings.Replace(lines[i], `"prev":"`, `"prev":"00`, 1)
		return with(lines, i, resealed(line))
	},
}

// with returns a copy of lines with another one at i.
func with(lines []string, i int, line string) []string {
	changed := append([]string(nil), lines...)
	changed[i] = line
	return changed
}

// TestEveryTamperedLineIsFound: no line of a record can be changed in any of these
// ways without Verify saying so, and naming the file.
func TestEveryTamperedLineIsFound(t *testing.T) {
	o := sample(t, 24)
	mustVerify(t, o)
	done := 0
	for _, path := range files(t, o.Dir) {
		original := readFile(t, path)
		for i := range readLines(t, path) {
			for kind, change := range tampering {
				changed := change(readLines(t, path), i)
				if changed == nil {
					continue
				}
				writeFile(t, path, []byte(strings.Join(changed, "")))
				_, err := verify(t, o)
				if err == nil {
					t.Errorf("%s:%d %s: nobody noticed", filepath.Base(path), i+1, kind)
				} else if !strings.Contains(err.Error(), o.Dir) {
					t.Errorf("%s:%d %s: the error names no file: %v", filepath.Base(path), i+1, kind, err)
				}
				done++
				writeFile(t, path, original)
			}
		}
	}
	mustVerify(t, o)
	if done < 300 {
		t.Errorf("only %d changes were tried", done)
	}
}

// TestTheLineIsNamed: the error says which line is wrong.
func TestTheLineIsNamed(t *testing.T) {
	o := sample(t, 24)
	path := files(t, o.Dir)[1]
	lines := readLines(t, path)
	for i, kind := range []string{"edited", "edited, with a new hash"} {
		writeFile(t, path, []byte(strings.Join(tampering[kind](lines, 1), "")))
		_, err := verify(t, o)
		var bad *audit.BadLineError
		// With a new hash it is the next line that no longer follows.
		if !errors.As(err, &bad) || bad.File != path || bad.Line != 2+i {
			t.Errorf("%s: got %v, want a problem at %s:%d", kind, err, path, 2+i)
		}
	}
}

// TestTamperedFilesAreFound: what is done to whole files.
func TestTamperedFilesAreFound(t *testing.T) {
	other := sample(t, 24)
	for name, change := range map[string]func(t *testing.T, o audit.Options, list []string){
		"first file removed":  func(t *testing.T, _ audit.Options, list []string) { remove(t, list[0]) },
		"middle file removed": func(t *testing.T, _ audit.Options, list []string) { remove(t, list[1]) },
		"last file removed":   func(t *testing.T, _ audit.Options, list []string) { remove(t, list[len(list)-1]) },
		"all files removed": func(t *testing.T, _ audit.Options, list []string) {
			for _, path := range list {
				remove(t, path)
			}
		},
		"files swapped": func(t *testing.T, _ audit.Options, list []string) {
			a, b := readFile(t, list[1]), readFile(t, list[2])
			writeFile(t, list[1], b)
			writeFile(t, list[2], a)
		},
		"last file emptied": func(t *testing.T, _ audit.Options, list []string) { writeFile(t, list[len(list)-1], nil) },
		"a file of another chain": func(t *testing.T, _ audit.Options, list []string) {
			writeFile(t, list[1], readFile(t, files(t, other.Dir)[1]))
		},
		"a file more": func(t *testing.T, o audit.Options, _ []string) {
			writeFile(t, filepath.Join(o.Dir, "audit-00000000000000000003.jsonl"), nil)
		},
		"head removed": func(t *testing.T, o audit.Options, _ []string) { remove(t, filepath.Join(o.Dir, "head")) },
		"head emptied": func(t *testing.T, o audit.Options, _ []string) { writeFile(t, filepath.Join(o.Dir, "head"), nil) },
		"head of another chain": func(t *testing.T, o audit.Options, _ []string) {
			writeFile(t, filepath.Join(o.Dir, "head"), readFile(t, filepath.Join(other.Dir, "head")))
		},
		"head moved back": func(t *testing.T, o audit.Options, _ []string) {
			path := filepath.Join(o.Dir, "head")
			writeFile(t, path, []byte(strings.ReplaceAll(string(readFile(t, path)), "\nseq 27\n", "\nseq 26\n")))
		},
		"all of another chain": func(t *testing.T, o audit.Options, list []string) {
			for _, path := range list {
				remove(t, path)
			}
			remove(t, filepath.Join(o.Dir, "head"))
			if err := os.CopyFS(o.Dir, os.DirFS(other.Dir)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := sample(t, 24)
			mustVerify(t, o)
			change(t, o, files(t, o.Dir))
			if _, err := verify(t, o); err == nil {
				t.Error("verify: nobody noticed")
			} else {
				t.Log(err)
			}
			if name == "middle file removed" || name == "files swapped" || name == "a file of another chain" || name == "a file more" {
				return // Open reads the newest file only, and how the others join
			}
			if l, err := audit.Open(t.Context(), o); err == nil {
				t.Error("open: nobody noticed")
				closeLog(t, l)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestAStartRefusesATamperedNewestFile: Open accepts no changed line up to the
// head, and goes on with no record that has fewer lines.
func TestAStartRefusesATamperedNewestFile(t *testing.T) {
	o := sample(t, 22)
	list := files(t, o.Dir)
	path := list[len(list)-1]
	original := readLines(t, path)
	if len(original) < 3 {
		t.Fatalf("the newest file has %d lines, want some", len(original))
	}
	for i := range original {
		for kind, change := range tampering {
			changed := change(original, i)
			if changed == nil || kind == "all up to here removed" && i+1 == len(original) {
				continue
			}
			c := o
			c.Dir = copyDir(t, o.Dir)
			writeFile(t, filepath.Join(c.Dir, filepath.Base(path)), []byte(strings.Join(changed, "")))
			l, err := audit.Open(t.Context(), c)
			if err != nil {
				continue
			}
			// What is added behind the head is what a crash may leave. It is kept or cut,
			// and the record says so.
			closeLog(t, l)
			if behind := i+1 == len(original); !behind || !recovered(t, c) {
				t.Errorf("line %d %s: nobody noticed", i+1, kind)
			}
		}
	}
}

// recovered reports whether the newest record tells of lines behind the head.
func recovered(t *testing.T, o audit.Options) bool {
	mustVerify(t, o)
	list := records(t, o.Dir)
	return list[len(list)-1].Action == audit.ActionRecover
}

// TestARecordThatWasPutBackIsFoundByTheLog: lines, files and head of an earlier
// time are whole; the log's anchors are not of that record.
func TestARecordThatWasPutBackIsFoundByTheLog(t *testing.T) {
	o := options(t)
	var logged [][32]byte
	o.Anchor = func(_ context.Context, statement []byte) ([]byte, error) {
		logged = append(logged, sha256.Sum256(statement))
		return proofOf(statement), nil
	}
	l := open(t, o)
	record(t, l, issued(0), issued(1))
	closeLog(t, l)
	earlier := copyDir(t, o.Dir)
	l = open(t, o)
	record(t, l, issued(2))
	if _, err := l.Anchor(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	c := verifyConfig(o)
	c.Logged = logged
	if _, err := audit.Verify(t.Context(), c); err != nil {
		t.Errorf("the true record: %v", err)
	}
	c.Dir = earlier
	if _, err := audit.Verify(t.Context(), c); err == nil || !strings.Contains(err.Error(), "put back") {
		t.Errorf("the earlier record: got %v, want that it was put back", err)
	}
	c.Logged = nil
	if _, err := audit.Verify(t.Context(), c); err != nil {
		t.Errorf("without the log the earlier record is whole, got %v", err)
	}
}

func TestAnAnchorThatDoesNotHoldIsFound(t *testing.T) {
	o := sample(t, 24)
	c := verifyConfig(o)
	c.CheckAnchor = func([]byte, []byte) (audit.Proof, error) { return audit.Proof{}, errors.New("not in the log") }
	_, err := audit.Verify(t.Context(), c)
	var bad *audit.BadLineError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "not in the log") {
		t.Errorf("got %v, want the anchor's line", err)
	}
}

// TestNamedFiles: a copy of some files is verified without a head.
func TestNamedFiles(t *testing.T) {
	o := sample(t, 24)
	list := files(t, o.Dir)
	c := verifyConfig(o)
	c.Dir, c.Files = "", list[1:3]
	rep, err := audit.Verify(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Files != 2 || rep.Signed || rep.FirstSeq == 1 || rep.Records != rep.LastSeq-rep.FirstSeq+1 {
		t.Errorf("got %+v, want two files without a head", rep)
	}
	c.Files = []string{list[0], list[2]}
	if _, err := audit.Verify(t.Context(), c); err == nil {
		t.Error("files that do not join pass")
	}
	writeFile(t, list[1], readFile(t, list[1])[:100])
	c.Files = list[1:2]
	if _, err := audit.Verify(t.Context(), c); err == nil {
		t.Error("a file that is cut in a line passes")
	}
}
