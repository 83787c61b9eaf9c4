package pebblelog

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// orderedFS makes a power cut leave no marker, the file whose name says which
// manifest counts, without the manifest that it names. Pebble syncs the manifest's
// content before it makes the marker, but the directory only behind it, which is
// enough where the file system keeps the order of changes to a directory, and that
// is not promised.
type orderedFS struct{ vfs.FS }

// Create makes a file; all that was made in its directory before is durable first
// if it is a marker.
func (fs orderedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(filepath.Base(name), "marker.") {
		if err := fs.syncDir(filepath.Dir(name)); err != nil {
			return nil, err
		}
	}
	return fs.FS.Create(name, category)
}

func (fs orderedFS) syncDir(name string) error {
	dir, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
