package main

import "syscall"

// privateFiles keeps what a database creates from other users: it chooses its
// own modes, and one of them holds the issuer's signing keys. Files for others,
// such as the kit's, are given their mode explicitly.
func privateFiles() { syscall.Umask(0o077) }
