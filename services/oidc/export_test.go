package oidc

// Strangers returns the messages that are nobody's alarm, for tests.
func Strangers() map[string]bool { return strangers }

// Audiences reads the "aud" of a token, for tests.
func Audiences(token string) []string { return audiences(token) }
