package main

import "syscall"

// diesWithParent makes the kernel end a child when its parent is gone, even by
// kill -9.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
