package tufroot

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sigstack/internal/durable"
)

const (
	timestampFile = "timestamp.json"
	// nextFile holds the newest timestamp ever signed: the one that timestamp.json
	// holds or was about to hold. It is not served.
	nextFile   = ".timestamp.next"
	targetsDir = "targets"
)

// versionedFile matches the names of the other roles' files.
var versionedFile = regexp.MustCompile(`^([1-9][0-9]{0,17})\.(root|targets|snapshot)\.json$`)

// targetName keeps target names to one path segment that needs no escaping.
var targetName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// disk is how files are written; both calls are durable when they return.
type disk struct {
	create  func(path string, data []byte, perm fs.FileMode) error // fs.ErrExist when taken
	replace func(path string, data []byte, perm fs.FileMode) error // atomic
}

func durableDisk() disk { return disk{create: durable.CreateFile, replace: durable.WriteFile} }

func versioned(version int64, role string) string {
	return strconv.FormatInt(version, 10) + "." + role + ".json"
}

// targetPath is where consistent snapshots keep a target, relative to the
// repository.
func targetPath(name string, file *metadata.TargetFiles) string {
	return filepath.Join(targetsDir, hex.EncodeToString(file.Hashes["sha256"])+"."+name)
}

// Serves reports whether name, a slash-separated path in the repository, is that
// of a file for clients. Temporary files and counters are not.
func Serves(name string) bool {
	if name == timestampFile || versionedFile.MatchString(name) {
		return true
	}
	dir, file, ok := strings.Cut(name, "/")
	if !ok || dir != targetsDir {
		return false
	}
	sum, target, ok := strings.Cut(file, ".")
	_, err := hex.DecodeString(sum)
	return ok && err == nil && len(sum) == 64 && targetName.MatchString(target)
}

// Immutable reports whether the content under such a name never changes: all but
// the timestamp carry a version or hash.
func Immutable(name string) bool { return name != timestampFile }

// newest returns the highest version of a role on disk, 0 without any: also of
// sets that were never completed, so that no version ever names two contents.
func newest(dir, role string) (int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("list repository: %w", err)
	}
	var highest int64
	for _, e := range entries {
		m := versionedFile.FindStringSubmatch(e.Name())
		if m == nil || m[2] != role {
			continue
		}
		v, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("list repository: %w", err)
		}
		highest = max(highest, v)
	}
	return highest, nil
}
