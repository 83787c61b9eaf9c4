//go:build !linux

package main

import "syscall"

// diesWithParent: only Linux ends children with a parent that was killed.
func diesWithParent() *syscall.SysProcAttr { return nil }
