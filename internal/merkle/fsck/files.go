package fsck

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"sigstack/internal/merkle/pebblelog"
)

// Files of the database by their names.
var fileNames = map[string]*regexp.Regexp{
	"wal":       regexp.MustCompile(`^(\d{6,})\.log$`),
	"table":     regexp.MustCompile(`^(\d{6,})\.sst$`),
	"manifest":  regexp.MustCompile(`^MANIFEST-(\d{6,})$`),
	"options":   regexp.MustCompile(`^OPTIONS-(\d{6,})$`),
	"pointer":   regexp.MustCompile(`^marker\.manifest\.(\d{6})\.(MANIFEST-\d{6,})$`),
	"format":    regexp.MustCompile(`^marker\.format-version\.(\d{6})\.(\d{3})$`),
	"lock":      regexp.MustCompile(`^LOCK$`),
	"temporary": regexp.MustCompile(`^(temporary\.\d{6,}\..*|\d{6,}\.dbtmp)$`),
}

// maxRecords bounds a file of records that is read whole.
const maxRecords = 1 << 30

// dbFile is a file of the database.
type dbFile struct {
	name   string
	number uint64
	second string // what a marker says
}

// checkFiles checks what is not a table; readable tells whether it makes sense to
// open the database.
func (k *checker) checkFiles(context.Context) (readable bool, err error) {
	files, err := k.listFiles()
	if err != nil {
		return false, err
	}
	pointer, format, options := newest(files["pointer"]), newest(files["format"]), newest(files["options"])
	readable = true
	for what, f := range map[string]*dbFile{"manifest marker": pointer, "format marker": format, "options": options} {
		if f == nil {
			k.problem(Problem{Kind: Missing, What: what, Detail: "the database has no such file"})
			readable = readable && what == "options"
		}
	}
	if want := fmt.Sprintf("%03d", pebble.FormatNewest); format != nil && format.second != want {
		k.problem(Problem{
			Kind: Differs, What: "format marker", File: format.name,
			Detail: "the database's format is not " + want + ", which this version writes",
		})
	}
	if pointer != nil {
		readable = k.checkManifest(files["manifest"], pointer.second) && readable
	}
	if options != nil {
		k.checkOptions(options.name)
	}
	k.lengths = map[string]int64{}
	if len(files["wal"]) == 0 {
		k.problem(Problem{Kind: Missing, What: "wal", Detail: "the database has no write-ahead log, and with it the newest rows are gone"})
	}
	for _, f := range files["wal"] {
		k.checkRecords("wal", f.name, uint32(f.number))
	}
	return readable, nil
}

// listFiles sorts files by what they are. Those that are none of the database's
// are problems.
func (k *checker) listFiles() (map[string][]dbFile, error) {
	names, err := k.FS.List(k.Dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	files := map[string][]dbFile{}
	for _, name := range names {
		what, f := fileOf(name)
		switch what {
		case "":
			k.problem(Problem{Kind: Extra, What: "file", File: name, Detail: "it is not the database's"})
		case "temporary":
			k.note("%s was left by a process that was killed while it wrote it; the next start removes it", name)
		default:
			files[what] = append(files[what], f)
		}
	}
	return files, nil
}

func fileOf(name string) (what string, f dbFile) {
	for what, pattern := range fileNames {
		m := pattern.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		f := dbFile{name: name}
		if len(m) > 1 {
			f.number, _ = strconv.ParseUint(m[1], 10, 64) // digits; too many are 0, and no file's
		}
		if len(m) > 2 {
			f.second = m[2]
		}
		return what, f
	}
	return "", dbFile{}
}

func newest(files []dbFile) *dbFile {
	if len(files) == 0 {
		return nil
	}
	f := slices.MaxFunc(files, func(a, b dbFile) int { return int(a.number) - int(b.number) })
	return &f
}

func (k *checker) checkManifest(have []dbFile, current string) bool {
	if !slices.ContainsFunc(have, func(f dbFile) bool { return f.name == current }) {
		k.problem(Problem{Kind: Missing, What: "manifest", File: current, Detail: "the list of the database's files is gone: no row can be read"})
		return false
	}
	return k.checkRecords("manifest", current, 0)
}

// checkRecords checks a file of records, and remembers up to where it can be read.
func (k *checker) checkRecords(what, name string, number uint32) bool {
	k.report.Files++
	data, err := k.read(name)
	if err != nil {
		k.problem(Problem{Kind: Unreadable, What: what, File: name, Detail: err.Error()})
		return false
	}
	v := recordFile{data, number}.check()
	if v.damage != "" {
		k.problem(Problem{Kind: Unreadable, What: what, File: name, Where: fmt.Sprintf("from byte %d on", v.readable), Detail: v.damage})
		if what == "wal" {
			k.lengths[name] = v.readable
		}
		return false
	}
	if v.rest > 0 {
		k.note("%s ends in %d bytes that are no record, as a process leaves that is killed, or a file that is used again", name, v.rest)
	}
	return true
}

func (k *checker) read(name string) ([]byte, error) {
	f, err := k.FS.Open(filepath.Join(k.Dir, name))
	if err != nil {
		return nil, err
	}
	data, err := readAll(f, maxRecords)
	return data, errors.Join(err, f.Close())
}

// checkOptions compares the newest file of options with what this version writes.
// Other values are a note: another version may have written them, they have no
// checksum, and no row depends on them.
func (k *checker) checkOptions(name string) {
	k.report.Files++
	data, err := k.read(name)
	if err != nil {
		k.problem(Problem{Kind: Unreadable, What: "options", File: name, Detail: err.Error()})
		return
	}
	want := strings.Split(pebblelog.PebbleOptions(k.FS).String(), "\n")
	got := strings.Split(string(data), "\n")
	values := []string{}
	for i, line := range got {
		if len(got) == len(want) && line == want[i] {
			continue
		}
		key, _, ok := strings.Cut(line, "=")
		if !ok || len(got) != len(want) || !strings.HasPrefix(want[i], key+"=") {
			k.problem(Problem{
				Kind: Differs, What: "options", File: name, Where: fmt.Sprintf("line %d", i+1),
				Detail: "it is not what this version writes: damaged, or of another version; no row depends on it, and the next start writes a new one",
			})
			return
		}
		if key = strings.TrimSpace(key); !slices.Contains(values, key) { // levels have options of one name
			values = append(values, key)
		}
	}
	if len(values) > 0 {
		k.note("%s has other values than this version writes, of %s: it is of another version, or damaged; no row depends on it, and the next start writes a new one", name, strings.Join(values, ", "))
	}
}

// checkTables checks every block of every table in use, and remembers where rows
// cannot be read.
func (k *checker) checkTables(ctx context.Context, store *pebblelog.Store) error {
	tables, err := store.Tables()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for i, t := range tables {
		if err := ctx.Err(); err != nil {
			return err
		}
		k.Progress("tables", uint64(i), uint64(len(tables)))
		if used[t.Name] {
			continue
		}
		used[t.Name] = true
		k.report.Files++
		if r, err := k.checkTable(t); err != nil {
			k.problem(Problem{Kind: Unreadable, What: "table", File: t.Name, Where: r.String(k.Trees), Detail: err.Error()})
			k.damaged = append(k.damaged, r)
		}
	}
	k.Progress("tables", uint64(len(tables)), uint64(len(tables)))
	slices.SortFunc(k.damaged, func(a, b keyRange) int { return strings.Compare(string(a.low), string(b.low)) })
	names, err := k.FS.List(k.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if what, _ := fileOf(name); what == "table" && !used[name] {
			k.note("%s is used no more; the next start removes it", name)
		}
	}
	return nil
}

// checkHeadsDir looks for files in the directory of heads that are no tree's.
func (k *checker) checkHeadsDir(trees []Tree) error {
	if k.Heads == "" {
		return nil
	}
	entries, err := os.ReadDir(k.Heads)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // each head that is not there is a problem by itself
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if !slices.ContainsFunc(trees, func(t Tree) bool { return filepath.Base(t.HeadFile) == name || filepath.Base(t.FinalHead) == name }) && trees != nil {
			k.problem(Problem{Kind: Extra, What: "checkpoint file", File: name, Detail: "no tree of this log has it"})
		}
	}
	return nil
}
