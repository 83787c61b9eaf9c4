package merkle_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

func TestOpenNamesTheEntriesThatAreGone(t *testing.T) {
	tests := []struct {
		lost int
		want string
	}{
		{1, "entry 8 is gone"},
		{2, "entries 8 to 9 are gone"},
		{12, "entries 8 to 19 are gone"},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			fs, c := vfs.NewCrashableMem(), merkle.Config{HeadFile: headFile(t)}
			r := startOn(t, fs, pebblelog.Options{}, c)
			addAll(t, r.Tree, 8, 1)
			r = r.restart(t, fs, pebblelog.Options{NoSync: true})
			addAll(t, r.Tree, 8+tt.lost, 1)
			if err := r.stop(); err != nil { // writes the head file
				t.Fatal(err)
			}
			c = r.cfg
			if _, err := reopenOn(t, fs.CrashClone(vfs.CrashCloneCfg{}), c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			c.HeadFile = ""
			if _, err := reopenOn(t, fs.CrashClone(vfs.CrashCloneCfg{}), c); err != nil {
				t.Errorf("without a head file: %v", err)
			}
		})
	}
}

// reopenOn opens c's tree from what is stored on fs.
func reopenOn(t *testing.T, fs vfs.FS, c merkle.Config) (*merkle.Tree, error) {
	t.Helper()
	store, err := pebblelog.Open("db", pebblelog.Options{FS: fs, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	c.Storage = store
	return merkle.Open(t.Context(), c)
}

func TestOpenRefusesAHeadFileOfAnotherTree(t *testing.T) {
	fs, c := vfs.NewMem(), merkle.Config{HeadFile: headFile(t)}
	r := startOn(t, fs, pebblelog.Options{}, c)
	addAll(t, r.Tree, 5, 1)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(c.HeadFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(good, []byte("\n"))
	replaced := func(line int, by string) []byte {
		changed := append([][]byte(nil), lines[:5]...) // as format 1: without a checksum
		changed[0], changed[line] = []byte("sigstack tree head 1"), []byte(by)
		return append(bytes.Join(changed, []byte("\n")), '\n')
	}
	tests := []struct {
		name    string
		content []byte
		want    string
	}{
		{"unchanged", good, ""},
		{"format 1", replaced(0, "sigstack tree head 1"), ""},
		{"checksum of another", bytes.Replace(good, []byte("time 1"), []byte("time 2"), 1), "damaged"},
		{"behind", replaced(2, "size 0"), "published was"}, // a size of 0 has the root of the empty tree
		{"other root", replaced(3, "root "+strings.Repeat("00", 32)), "published was 0000"},
		{"other tree", replaced(1, "tree 12345"), "is of tree 12345"},
		{"cut off", good[:len(good)-1], "not a head file"},
		{"empty", nil, "not a head file"},
		{"not a number", replaced(2, "size five"), "damaged"},
		{"number not in its only form", replaced(2, "size 05"), "damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(c.HeadFile, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := merkle.Open(t.Context(), r.cfg)
			if tt.want == "" {
				if err != nil {
					t.Errorf("got %v, want it accepted", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestHeadFileIsAtMostASecondBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := headFile(t)
		r := start(t, merkle.Config{HeadFile: path})
		for i := range 5 {
			mustAdd(t, r.Tree, leaf(i))
			want := r.Head()
			time.Sleep(time.Second) // of the bubble's clock
			tree, got, err := merkle.ReadHeadFile(path)
			if err != nil || tree != r.ID() || got != want {
				t.Fatalf("head file has %+v of tree %d, %v; want %+v", got, tree, err, want)
			}
		}
		mustAdd(t, r.Tree, leaf(5))
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if _, got, err := merkle.ReadHeadFile(path); err != nil || got != r.Head() {
			t.Fatalf("head file after the end has %+v, %v; want %+v", got, err, r.Head())
		}
	})
}

func TestUnwritableHeadFileIsReportedAndDoesNotStopAdds(t *testing.T) {
	r := start(t, merkle.Config{HeadFile: headFile(t) + "/missing/head"})
	mustAdd(t, r.Tree, leaf(1))
	if err := r.stop(); err == nil || !strings.Contains(err.Error(), "write head file") {
		t.Errorf("run: got %v, want the head file named", err)
	}
	r.stop = func() error { return nil } // reported above
}
