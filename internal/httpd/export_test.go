package httpd

import "net"

// Add takes in a connection as Accept does.
func (c *Conns) Add(nc net.Conn) (net.Conn, error) { return c.add(nc, nil) }

// Change changes what a connection of Add has under way.
func (c *Conns) Change(nc net.Conn, requests, blocked int) { nc.(*conn).change(requests, blocked) }
