// Package operations executes the commands of every page in docs/operations as they
// stand there, and holds what they print against what the page shows.
package operations

// How a page is written. A fenced block of kind console is executed: lines that
// begin with "$ " are commands, the others what they print, errors too.
//
//	```console
//	$ sigstack log shard list --dir /var/lib/sigstack \
//	      --output text
//	SHARD  STATE   ...
//	...
//	```
//
// All blocks of a page run in their order in one bash, in one temporary directory
// that is empty at first, with sigstack and bin/clients on PATH and an empty HOME:
// cd, export and background jobs last until the page ends. A command goes on in the
// next line after a backslash, or where that begins with "> " (a here-document). It
// has to exit with 0. What it prints has to be the lines below it, all of them and no
// others; "..." in a line stands for any text, alone in it for any lines, and no line
// at all for whatever is printed. Standard input is empty.
//
// What readers need not see is in HTML comments that begin with "test:", one
// directive a line, or one on the line of the "<!--":
//
//	<!-- test:
//	run sigstack init --dir data --url http://127.0.0.1:8099 --passphrase-file pass
//	start serve --dir data --passphrase-file pass
//	replace /media/offline => data/offline
//	-->
//
//	start ARGS         start `sigstack ARGS` in the background and wait for its line
//	                   "ready URL"; $URL is that URL then. E.g.: start up --dir data
//	                   --listen 127.0.0.1:0. A further one may be started after a stop
//	stop               end what was started last, and wait for that
//	run COMMAND        execute it; it has to exit with 0
//	until COMMAND      execute it once more each 0.2 s until it exits with 0, for a
//	                   minute at most: for windows of seconds
//	replace FROM => TO in all that follows, commands and output, FROM stands for TO,
//	                   where $DIR is the temporary directory, $URL that of start and
//	                   ${NAME} a variable of the shell's, all as they are then
//
// and for the next block alone:
//
//	exit N             its last command has to exit with N
//	retry              each command is repeated, as with until, until it exits as it
//	                   has to
//	input TEXT         what its commands read, with a newline; may be repeated
//	file PATH          the block, of whatever kind, is the content of that file
//	skip REASON        it is shown and not executed, because REASON
//
// In a run on replicas start starts two behind a balancer, of which the one in the
// directory that is named leads.
//
// Every fenced block is of kind console, or is a file, or is skipped; commands are
// in no other blocks. A page that executes nothing fails. For a stack with windows of
// seconds use `start up`, or run sed on data/config.yaml before `start serve`.

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

// pages is where they are, from here.
const pages = "../../docs/operations"

func TestPages(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(pages, "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: found %d pages in %s, want some", err, len(files), pages)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".md"), func(t *testing.T) {
			t.Parallel() // most of a page is waiting
			steps, err := parse(e2etest.ReadFile(t, file))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			execute(t, file, steps)
		})
	}
}

// TestIndex: every page is linked from the index.
func TestIndex(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(pages, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	index := e2etest.ReadFile(t, filepath.Join(pages, "README.md"))
	for _, file := range files {
		name := filepath.Base(file)
		if name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("%s is not linked from README.md", name)
		}
	}
}
