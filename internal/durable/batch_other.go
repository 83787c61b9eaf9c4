//go:build !linux

package durable

import (
	"errors"
	"os"
)

func syncsWhole(*os.File) (device uint64, whole bool, err error) { return 0, false, nil }

func syncWhole(*os.File) error { return errors.ErrUnsupported }

func renameNew(string, string) error { return errors.ErrUnsupported }
