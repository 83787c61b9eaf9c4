package main

import (
	"cmp"
	"net"
	"net/url"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// listenFor returns the address to listen on: the one that was asked for or, for a
// URL of this machine, the one that the URL leads to.
func listenFor(asked, public string) string {
	u, err := url.Parse(public)
	if asked != "" || public == "" || err != nil {
		return cmp.Or(asked, defaultListen)
	}
	host, port := u.Hostname(), cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	if host == "localhost" {
		host = "127.0.0.1"
	}
	address := net.JoinHostPort(host, port)
	if config.CheckAddress(address) != nil || !config.IsLoopback(address) {
		return defaultListen
	}
	return address
}

// noteWarnings says what can hardly be meant in a configuration that was just made.
func (a *app) noteWarnings(l stack.Layout) error {
	f, err := config.ReadFile(l.Config())
	if err != nil {
		return err
	}
	for _, p := range f.Problems {
		a.notef("%s\n", shown(p.In(f.Path)))
	}
	return nil
}

// anyPort reports whether an address asks for whichever port is free.
func anyPort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port == "0"
}
