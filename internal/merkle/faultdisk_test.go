package merkle_test

import (
	"errors"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// brokenDisk fails the n-th of its operations that change it, and all after that:
// a write does so after its first half, if it is to be torn.
type brokenDisk struct {
	vfs.FS
	n     int    // counted from 0; below 0: never
	torn  bool   //
	broke func() // called at the failure, before it is reported; nothing changes after it

	mu    sync.Mutex // held during each operation, so that one that has succeeded is done
	count int        // guarded by mu
}

// change does an operation, or half of it, or fails.
func (d *brokenDisk) change(do, half func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.count
	d.count++
	if d.n < 0 || i < d.n {
		return do()
	}
	err := error(syscall.EIO)
	if i == d.n {
		if d.torn && half != nil {
			err = errors.Join(err, half())
		}
		d.broke()
	}
	return err
}

func (d *brokenDisk) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &brokenFile{f, d}, nil
}

func (d *brokenDisk) Create(name string, c vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = d.change(func() (err error) { f, err = d.FS.Create(name, c); return err }, nil)
	return d.wrap(f, err)
}

func (d *brokenDisk) ReuseForWrite(older, newer string, c vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = d.change(func() (err error) { f, err = d.FS.ReuseForWrite(older, newer, c); return err }, nil)
	return d.wrap(f, err)
}

func (d *brokenDisk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return d.wrap(d.FS.OpenReadWrite(name, c, o...))
}

func (d *brokenDisk) OpenDir(name string) (vfs.File, error) { return d.wrap(d.FS.OpenDir(name)) }

func (d *brokenDisk) Link(older, newer string) error {
	return d.change(func() error { return d.FS.Link(older, newer) }, nil)
}

func (d *brokenDisk) Remove(name string) error {
	return d.change(func() error { return d.FS.Remove(name) }, nil)
}

func (d *brokenDisk) Rename(older, newer string) error {
	return d.change(func() error { return d.FS.Rename(older, newer) }, nil)
}

// brokenFile is a file of a brokenDisk.
type brokenFile struct {
	vfs.File
	disk *brokenDisk
}

func (f *brokenFile) Write(p []byte) (n int, err error) {
	err = f.disk.change(
		func() (err error) { n, err = f.File.Write(p); return err },
		func() (err error) { n, err = f.File.Write(p[:len(p)/2]); return err })
	return n, err
}

func (f *brokenFile) Sync() error     { return f.disk.change(f.File.Sync, nil) }
func (f *brokenFile) SyncData() error { return f.disk.change(f.File.SyncData, nil) }

func (f *brokenFile) SyncTo(length int64) (full bool, err error) {
	err = f.disk.change(func() (err error) { full, err = f.File.SyncTo(length); return err }, nil)
	return full, err
}
