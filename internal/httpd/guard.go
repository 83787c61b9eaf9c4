package httpd

import "net/netip"

// Guard is what a Mux asks of requests before they reach a handler. The zero
// Guard lets everything in.
type Guard struct {
	// TrustedProxies are the networks of proxies whose X-Forwarded-For is
	// believed.
	TrustedProxies []netip.Prefix
}
