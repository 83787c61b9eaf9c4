package durable

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// syncsWhole returns the device of an open directory, and whether a sync of all that is
// there is as good as an fsync of every file, and says when one could not be written:
// kernels before 5.8 do not say, and some file systems do nothing.
func syncsWhole(dir *os.File) (device uint64, whole bool, err error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &stat); err != nil {
		return 0, false, fmt.Errorf("look at directory: %w", err)
	}
	var system unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &system); err != nil {
		return 0, false, fmt.Errorf("look at file system: %w", err)
	}
	known := []int64{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC}
	return stat.Dev, slices.Contains(known, int64(system.Type)) && kernelFrom(5, 8), nil //nolint:unconvert // Type is narrower elsewhere
}

// kernelFrom tells whether this kernel is of that version or newer.
func kernelFrom(major, minor int) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var is, and int
	n, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &is, &and)
	return err == nil && n == 2 && (is > major || is == major && and >= minor)
}

// syncWhole syncs the file system that dir is on.
func syncWhole(dir *os.File) error { return unix.Syncfs(int(dir.Fd())) }

// renameNew renames temp to path unless that exists. The error matches
// errors.ErrUnsupported where the file system cannot.
func renameNew(temp, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) {
		return errors.ErrUnsupported
	}
	return err
}
