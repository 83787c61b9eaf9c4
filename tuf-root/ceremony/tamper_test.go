package ceremony_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/durable"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
	"sigstack/tuf-root/ceremony"
)

// edit changes a file of a folder.
func edit(t *testing.T, folder, name string, change func([]byte) []byte) {
	t.Helper()
	before := read(t, folder, name)
	after := change(bytes.Clone(before))
	if bytes.Equal(before, after) {
		t.Fatalf("%s was not changed", name)
	}
	write(t, folder, name, after)
}

func replace(old, with string) func([]byte) []byte {
	return func(data []byte) []byte { return bytes.Replace(data, []byte(old), []byte(with), 1) }
}

// TestChangedFolders: whatever is changed is found before the next signature, and the
// error says what to do.
func TestChangedFolders(t *testing.T) {
	p := newPeople(t)
	_, signed := p.start(t)
	mustSign(t, signed, p, 0, 1)
	_, other := newPeople(t).start(t)
	ada := signatureFile(t, "root", p.keys[0])
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, folder string) {
			if err := os.Remove(filepath.Join(folder, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	change := func(name string, f func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, folder string) { edit(t, folder, name, f) }
	}
	lines := func(f func([][]byte) [][]byte) func([]byte) []byte {
		return func(data []byte) []byte { return bytes.Join(f(bytes.SplitAfter(data, []byte("\n"))), nil) }
	}
	for name, tt := range map[string]struct {
		do   func(*testing.T, string)
		want string
	}{
		"draft of the root":    {change("root.draft.json", replace(`"threshold": 2`, `"threshold": 1`)), "root.draft.json is not the one"},
		"draft of targets":     {change("targets.draft.json", replace(`"version": 1`, `"version": 2`)), "targets.draft.json is not the one"},
		"a target":             {change("files/trusted_root.json", replace("one", "two")), "files/trusted_root.json is not the one"},
		"a target is gone":     {remove("files/rekor.pub"), "files/rekor.pub"},
		"a draft of another":   {func(t *testing.T, f string) { write(t, f, "root.draft.json", read(t, other, "root.draft.json")) }, "root.draft.json"},
		"plan of another":      {func(t *testing.T, f string) { write(t, f, "ceremony.json", read(t, other, "ceremony.json")) }, "not the one"},
		"title":                {change("ceremony.json", replace("First", "Other")), "another ceremony"},
		"plan, spelled else":   {change("ceremony.json", replace("{", "{ ")), "ceremony.json"},
		"plan, a link outside": {change("ceremony.json", replace("files/rekor.pub", "../../rekor.pub")), "no file of a ceremony"},
		"signature, bytes":     {change(ada, replace(`"sig":"`, `"sig":"00`)), ada},
		"signature, name":      {change(ada, replace("Ada", "Eve")), "transcript.jsonl"},
		"signature, time":      {change(ada, replace("T13:", "T14:")), "transcript.jsonl"},
		"signature of another": {change(ada, replace(`"ceremony":"`, `"ceremony":"0`)), ada},
		"signature, other key": {func(t *testing.T, f string) {
			write(t, f, signatureFile(t, "root", p.keys[2]), read(t, f, ada))
		}, "by its content"},
		"signature is gone":      {remove(ada), "is not there"},
		"stray file":             {func(t *testing.T, f string) { write(t, f, "signatures/a copy.json", nil) }, "remove it"},
		"transcript is gone":     {remove("transcript.jsonl"), "transcript.jsonl"},
		"transcript, name":       {change("transcript.jsonl", replace("Ada", "Eve")), "transcript.jsonl"},
		"transcript, last line":  {change("transcript.jsonl", func(d []byte) []byte { return append(d, d[:bytes.IndexByte(d, '\n')+1]...) }), "follow"},
		"transcript, first line": {change("transcript.jsonl", lines(func(l [][]byte) [][]byte { return l[1:] })), "follow"},
		"transcript, order": {change("transcript.jsonl", lines(func(l [][]byte) [][]byte {
			l[1], l[2] = l[2], l[1]
			return l
		})), "follow"},
		"transcript, torn":     {change("transcript.jsonl", func(d []byte) []byte { return d[:len(d)-9] }), "transcript.jsonl"},
		"transcript, end lost": {change("transcript.jsonl", lines(func(l [][]byte) [][]byte { return l[:2] })), "lacks a line that Bo saw"},
		"transcript, new chain": {change("transcript.jsonl", func(d []byte) []byte {
			return rechained(t, d, func(l *ceremony.Line) { l.Who = strings.Replace(l.Who, "Ada", "Eve", 1) })
		}), "is another"},
		"transcript of another": {func(t *testing.T, f string) { write(t, f, "transcript.jsonl", read(t, other, "transcript.jsonl")) }, "not of this ceremony"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := copyFolder(t, signed)
			opened := open(t, folder)
			tt.do(t, folder)
			before := files(t, folder)
			_, err := ceremony.Open(folder)
			if !errors.Is(err, ceremony.ErrChanged) && !errors.Is(err, ceremony.ErrWrongKey) && name != "plan, a link outside" {
				t.Errorf("got %v, want ErrChanged", err)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v, want %q, and not that there is no ceremony", err, tt.want)
			}
			if err := opened.Sign(p.keys[2], "Cleo", start.Add(day)); err == nil {
				t.Error("signed all the same")
			}
			if after := files(t, folder); !slices.Equal(after, before) {
				t.Errorf("left %v, want %v", after, before)
			}
		})
	}
}

// rechained writes lines anew, as someone does who knows how they are chained.
func rechained(t *testing.T, data []byte, change func(*ceremony.Line)) []byte {
	t.Helper()
	var out []byte
	previous := ""
	for raw := range bytes.Lines(data) {
		var l ceremony.Line
		if err := json.Unmarshal(raw, &l); err != nil {
			t.Fatal(err)
		}
		change(&l)
		l.Previous = previous
		line, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(line)
		previous = hex.EncodeToString(sum[:])
		out = append(append(out, line...), '\n')
	}
	return out
}

// TestExchangedWhileItIsLookedAt: what was opened, and shown, is what is signed.
func TestExchangedWhileItIsLookedAt(t *testing.T) {
	p := newPeople(t)
	c, folder := p.start(t)
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := c.Sign(p.keys[0], "Ada", start); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "medium") {
		t.Errorf("without the medium: got %v, want fs.ErrNotExist", err)
	}
	proposal := p.first(t)
	proposal.Title = "Another"
	if _, err := ceremony.Start(folder, proposal); err != nil {
		t.Fatal(err)
	}
	if err := c.Sign(p.keys[0], "Ada", start); !errors.Is(err, ceremony.ErrChanged) {
		t.Errorf("another ceremony: got %v, want ErrChanged", err)
	}
}

// TestLinksAreNotFollowed out of the folder.
func TestLinksAreNotFollowed(t *testing.T) {
	p := newPeople(t)
	_, folder := p.start(t)
	path := filepath.Join(folder, "root.draft.json")
	outside := filepath.Join(t.TempDir(), "root.json")
	if err := errors.Join(os.Rename(path, outside), os.Symlink(outside, path)); err != nil {
		t.Fatal(err)
	}
	if _, err := ceremony.Open(folder); !errors.Is(err, ceremony.ErrChanged) {
		t.Errorf("got %v, want ErrChanged", err)
	}
}

// TestHiddenFilesAreLeftAlone: systems put them on media.
func TestHiddenFilesAreLeftAlone(t *testing.T) {
	p := newPeople(t)
	_, folder := p.start(t)
	for _, name := range []string{".Trashes/x", "signatures/._root.json", "System Volume Information/x"} {
		write(t, folder, name, []byte("x"))
	}
	mustSign(t, folder, p, 0, 1)
}

// TestFileThatSteersTheTerminal is shown without that.
func TestFileThatSteersTheTerminal(t *testing.T) {
	p := newPeople(t)
	proposal := p.first(t)
	proposal.Files = []trust.Target{{Name: "x.pub", Data: []byte("x"), Custom: []byte(`{"sigstore":{"usage":"a\u001b[2Jb","status":"\u202e"}}`)}}
	var err error
	if proposal.Targets, err = tufroot.FirstTargets(config("", start), proposal.Files); err != nil {
		t.Fatal(err)
	}
	c, err := ceremony.Start(filepath.Join(t.TempDir(), "medium"), proposal)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Changes(), "\n"); strings.ContainsAny(got, "\x1b\u202e") || !strings.Contains(got, "x.pub") {
		t.Errorf("got %q, want it printable", got)
	}
}

// folderFiles are seeds for the decoders.
func folderFiles(f *testing.F) (plan, signature, transcript []byte) {
	f.Helper()
	p := newPeople(f)
	_, folder := p.start(f)
	mustSign(f, folder, p, 0, 1)
	return read(f, folder, "ceremony.json"), read(f, folder, signatureFile(f, "root", p.keys[1])), read(f, folder, "transcript.jsonl")
}

// FuzzPlan: what is accepted is written again with the same bytes, and names plain
// paths inside the folder.
func FuzzPlan(f *testing.F) {
	plan, _, _ := folderFiles(f)
	f.Add(plan)
	f.Add(bytes.Replace(plan, []byte("root.draft.json"), []byte("../x"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		again, names, err := ceremony.ParsePlan(data)
		if err != nil {
			return
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("got %q, want %q", again, data)
		}
		for _, name := range names {
			if !filepath.IsLocal(name) || filepath.ToSlash(filepath.Clean(name)) != name {
				t.Fatalf("%q is accepted", name)
			}
		}
	})
}

// FuzzSignature: what is accepted is written again with the same bytes, and lies in a
// plain file.
func FuzzSignature(f *testing.F) {
	_, signature, _ := folderFiles(f)
	f.Add(signature)
	f.Add(bytes.Replace(signature, []byte(`"role":"root"`), []byte(`"role":"../root"`), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		again, file, err := ceremony.ParseSignature(data)
		if err != nil {
			return
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("got %q, want %q", again, data)
		}
		if filepath.Base(file) != file || !strings.HasSuffix(file, ".json") {
			t.Fatalf("file %q is accepted", file)
		}
	})
}

// FuzzTranscript: what is accepted is a chain, of which no byte can be changed.
func FuzzTranscript(f *testing.F) {
	_, _, transcript := folderFiles(f)
	f.Add(transcript, 10)
	f.Add(transcript[:bytes.IndexByte(transcript, '\n')+1], 0)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		lines, err := ceremony.ParseTranscript(data)
		if err != nil {
			return
		}
		if n := bytes.Count(data, []byte("\n")); n != len(lines) {
			t.Fatalf("got %d lines of %d", len(lines), n)
		}
		if again := rechained(t, data, func(*ceremony.Line) {}); !bytes.Equal(again, data) {
			t.Fatalf("got %q, want %q", again, data)
		}
		last := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
		if last == 0 {
			return // of one line alone, the folder's ID speaks
		}
		at = int(uint(at) % uint(last))
		flipped := bytes.Clone(data)
		flipped[at] ^= 1
		if _, err := ceremony.ParseTranscript(flipped); err == nil {
			t.Fatalf("byte %d of %d can be changed", at, len(data))
		}
	})
}

// FuzzOpen: a folder with any one file replaced by other bytes is refused, or is the
// same ceremony with no more signatures than before.
func FuzzOpen(f *testing.F) {
	p := newPeople(f)
	_, folder := p.start(f)
	mustSign(f, folder, p, 0, 1)
	names := files(f, folder)
	for i, name := range names {
		f.Add(i, read(f, folder, name))
		f.Add(i, []byte("{}\n"))
	}
	want := open(f, folder).Status()
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		name := names[int(uint(i)%uint(len(names)))]
		bad := copyFolder(t, folder)
		write(t, bad, name, data)
		c, err := ceremony.Open(bad)
		if err != nil {
			return
		}
		if got := c.Status(); got.ID != want.ID || len(got.Roles[0].Signed) != 2 || len(got.Roles[1].Signed) != 2 {
			t.Fatalf("%s: got %+v, want %+v", name, got, want)
		}
	})
}

// TestConcurrentSigners of one folder lose no signature and no line.
func TestConcurrentSigners(t *testing.T) {
	p := newPeople(t)
	_, folder := p.start(t)
	errs := make(chan error, len(p.keys))
	for i, key := range p.keys {
		go func() {
			err := sign(folder, key, names[i], start.Add(time.Hour))
			for errors.Is(err, durable.ErrLocked) {
				err = sign(folder, key, names[i], start.Add(time.Hour))
			}
			errs <- err
		}()
	}
	for range p.keys {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	c := open(t, folder)
	if lines, err := c.Transcript(); err != nil || len(lines) != 7 {
		t.Errorf("got %d lines, %v; want 7", len(lines), err)
	}
	if st := c.Status(); len(st.Roles[0].Signed) != 3 || len(st.Roles[1].Signed) != 3 || st.Unrecorded != 0 {
		t.Errorf("got %+v, want three signers of both", st)
	}
}
