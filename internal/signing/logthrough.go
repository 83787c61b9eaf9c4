package signing

import "net/http"

// Through returns the same reader with another way to the log: for who is the log,
// and has no listener.
func (r *LogReader) Through(client *http.Client) *LogReader {
	through := *r
	through.http = client
	return &through
}
