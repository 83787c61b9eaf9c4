package durable

// LockDescriptor is the descriptor that holds l, for tests.
func LockDescriptor(l *Lock) int { return int(l.f.Fd()) }
