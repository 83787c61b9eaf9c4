package oidc

// Strangers returns the messages that are nobody's alarm, for tests.
func Strangers() map[string]bool { return strangers }
